"""Wrong answers to the check of lesson 11 and to lab 11."""

import asyncio
from contextlib import aclosing

import openai

from tests.wrong import right, wrong


def ask(question):
    return {"messages": [("user", question)]}


async def text_of(graph, question):
    state = await graph.ainvoke(ask(question))
    return state["messages"][-1].text


# --- 11.0


@wrong("11.0", "for (2, 3, 2) you say 12, and the model counted 18 requests")
def forgets_the_first_attempt(max_retries, max_attempts, runs):
    return max_retries * max_attempts * runs


@wrong("11.0", "for (2, 3, 2) you say 8, and the model counted 18 requests")
def adds_the_levels(max_retries, max_attempts, runs):
    return (max_retries + 1) + max_attempts + runs


@wrong("11.0", "for (2, 3, 2) you say 24, and the model counted 18 requests")
def counts_attempts_as_retries(max_retries, max_attempts, runs):
    return (max_retries + 1) * (max_attempts + 1) * runs


@wrong("11.0", "for (2, 3, 2) you say 9, and the model counted 18 requests")
def forgets_the_runs(max_retries, max_attempts, runs):
    return (max_retries + 1) * max_attempts


@wrong("11.0", "it returned None, not a number: is a `return` missing?")
def prints_the_number(max_retries, max_attempts, runs):
    print((max_retries + 1) * max_attempts * runs)


# --- 11.1


@wrong("11.1", "at most 8 requests were in flight, not 3")
async def has_no_limit(graph, questions, limit):
    return await asyncio.gather(*[text_of(graph, q) for q in questions])


@wrong("11.1", "at most 8 requests were in flight, not 3")
async def makes_a_semaphore_for_each(graph, questions, limit):
    async def one(question):
        async with asyncio.Semaphore(limit):
            return await text_of(graph, question)

    return await asyncio.gather(*map(one, questions))


@wrong("11.1", "at most 8 requests were in flight, not 3")
async def limits_each_run(graph, questions, limit):
    config = {"max_concurrency": limit}
    runs = [graph.ainvoke(ask(question), config) for question in questions]
    states = await asyncio.gather(*runs)
    return [state["messages"][-1].text for state in states]


@wrong("11.1", "at most 8 requests were in flight, not 3")
async def holds_it_only_for_the_start(graph, questions, limit):
    turn = asyncio.Semaphore(limit)

    async def one(question):
        async with turn:
            run = graph.ainvoke(ask(question))
        return (await run)["messages"][-1].text

    return await asyncio.gather(*map(one, questions))


@wrong(
    "11.1",
    "the runs came one after another: at most 1 request was in flight",
)
async def awaits_in_a_loop(graph, questions, limit):
    turn, texts = asyncio.Semaphore(limit), []
    for question in questions:
        async with turn:
            texts.append(await text_of(graph, question))
    return texts


@wrong(
    "11.1",
    "one run stalled, and only 2 of 6 were begun: a free place was not taken",
)
async def runs_in_groups(graph, questions, limit):
    texts = []
    for start in range(0, len(questions), limit):
        group = questions[start : start + limit]
        texts += await asyncio.gather(*[text_of(graph, q) for q in group])
    return texts


@wrong("11.1", "the texts are in the order in which they came")
async def takes_them_as_they_come(graph, questions, limit):
    turn = asyncio.Semaphore(limit)

    async def one(question):
        async with turn:
            return await text_of(graph, question)

    runs = asyncio.as_completed(map(one, questions))
    return [await run for run in runs]


@wrong("11.1", "it returned a list of dict, not of texts")
async def returns_the_states(graph, questions, limit):
    config = {"max_concurrency": limit}
    return await graph.abatch([*map(ask, questions)], config)


@wrong("11.1", "at most 5 requests were in flight, not 3")
async def ignores_the_argument(graph, questions, limit):
    states = await graph.abatch([*map(ask, questions)], {"max_concurrency": 5})
    return [state["messages"][-1].text for state in states]


@right("11.1")
async def uses_abatch(graph, questions, limit):
    config = {"max_concurrency": limit}
    states = await graph.abatch([*map(ask, questions)], config)
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


# --- 11.2


WENT_ON = (
    "after the failure 0 of 2 calls were cut off: the others went on, and "
    "are paid for"
)
CAME_OUT = "the failure came out, and what had come was lost"


@wrong("11.2", CAME_OUT)
async def gathers(graph, questions):
    texts = await asyncio.gather(*[text_of(graph, q) for q in questions])
    return dict(zip(questions, texts, strict=True)), []


@wrong("11.2", WENT_ON)
async def catches_around_gather(graph, questions):
    texts = {}

    async def one(question):
        texts[question] = await text_of(graph, question)

    try:
        await asyncio.gather(*map(one, questions))
    except openai.APIError as error:
        return texts, [error]
    return texts, []


@wrong("11.2", WENT_ON)
async def returns_exceptions(graph, questions):
    found = await asyncio.gather(
        *[text_of(graph, q) for q in questions], return_exceptions=True
    )
    pairs = list(zip(questions, found, strict=True))
    texts = {q: f for q, f in pairs if isinstance(f, str)}
    return texts, [f for _, f in pairs if not isinstance(f, str)]


@wrong("11.2", CAME_OUT)
async def does_not_catch(graph, questions):
    texts = {}

    async def one(question):
        texts[question] = await text_of(graph, question)

    async with asyncio.TaskGroup() as group:
        for question in questions:
            group.create_task(one(question))
    return texts, []


@wrong("11.2", CAME_OUT)
async def catches_one_error(graph, questions):
    texts, errors = {}, []

    async def one(question):
        texts[question] = await text_of(graph, question)

    try:
        async with asyncio.TaskGroup() as group:
            for question in questions:
                group.create_task(one(question))
    except openai.APIError as error:
        errors.append(error)
    return texts, errors


@wrong("11.2", "2 answers had come, but 0 are kept")
async def reads_them_after_the_group(graph, questions):
    errors, texts = [], {}
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(text_of(graph, q)) for q in questions]
        texts = {q: t.result() for q, t in zip(questions, tasks, strict=True)}
    except* openai.APIError as failed:
        errors.extend(failed.exceptions)
    return texts, errors


@wrong("11.2", "it returned (dict, ExceptionGroup), not a dict and a list")
async def returns_the_group(graph, questions):
    texts, failed = {}, []

    async def one(question):
        texts[question] = await text_of(graph, question)

    try:
        async with asyncio.TaskGroup() as group:
            for question in questions:
                group.create_task(one(question))
    except ExceptionGroup as error:
        failed = error
    return texts, failed


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


# --- 11.3


@wrong("11.3", "with a budget of 5, 27 requests were billed")
async def leaves_the_levels_alone(make, questions, budget):
    graph = make()

    async def one(question):
        try:
            return await text_of(graph, question)
        except openai.RateLimitError:
            return None

    return await asyncio.gather(*map(one, questions))


@wrong("11.3", "with a budget of 5, 15 requests were billed")
async def gives_the_budget_to_each(make, questions, budget):
    graph = make(max_retries=budget - 1, max_attempts=1)

    async def one(question):
        try:
            return await text_of(graph, question)
        except openai.RateLimitError:
            return None

    return await asyncio.gather(*map(one, questions))


@wrong("11.3", "with a budget of 5, 15 requests were billed")
async def forgets_the_client(make, questions, budget):
    graph, left = make(max_attempts=1), budget

    async def one(question):
        nonlocal left
        while left > 0:
            left -= 1
            try:
                return await text_of(graph, question)
            except openai.RateLimitError as refused:
                wait = refused.response.headers["retry-after"]
                await asyncio.sleep(float(wait))

    return await asyncio.gather(*map(one, questions))


@wrong("11.3", "it asked again before the time in `Retry-After` was over")
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


@wrong("11.3", "it asked again before the time in `Retry-After` was over")
async def lets_the_policy_retry(make, questions, budget):
    graph = make(max_retries=0, max_attempts=2)
    return await asyncio.gather(*[text_of(graph, q) for q in questions])


@wrong("11.3", "the refusal came out: return None where the budget ended")
async def lets_the_refusal_out(make, questions, budget):
    graph = make(max_retries=1, max_attempts=1)
    return await asyncio.gather(*[text_of(graph, q) for q in questions])


@wrong("11.3", "at most 1 request was in flight: ask all at once")
async def asks_one_by_one(make, questions, budget):
    graph, texts = make(0, 1), []
    for question in questions:
        texts.append(await text_of(graph, question))
    return texts


@wrong(
    "11.3", "with a budget of 5, only 3 requests were made: it gave up early"
)
async def shares_it_out(make, questions, budget):
    graph = make(0, 1)

    async def one(question):
        for _ in range(budget // len(questions)):
            try:
                return await text_of(graph, question)
            except openai.RateLimitError as refused:
                wait = refused.response.headers["retry-after"]
                await asyncio.sleep(float(wait))

    return await asyncio.gather(*map(one, questions))


# --- 11.4


NO_BOUND = (
    "while the reader paused, 299 pieces were taken from the streams: the "
    "queue has no bound"
)
NOT_CLOSED = (
    "the reader left, and 0 of 3 calls were cut off: cancel the tasks, and "
    "close the streams"
)


async def fill(queue, label, stream):
    async for piece in stream:
        await queue.put((label, piece))
    await queue.put(None)


async def fill_and_close(queue, label, stream):
    error = None
    async with aclosing(stream):
        try:
            async for piece in stream:
                await queue.put((label, piece))
        except Exception as caught:
            error = caught
    await queue.put(error)


@wrong("11.4", "a stream that is silent holds up the other")
async def takes_turns(streams, size):
    streams = dict(streams)
    while streams:
        for label, stream in list(streams.items()):
            try:
                yield label, await anext(stream)
            except StopAsyncIteration:
                del streams[label]


@wrong("11.4", "the first 30 pieces are all of one stream")
async def reads_one_after_another(streams, size):
    for label, stream in streams.items():
        async for piece in stream:
            yield label, piece


@wrong("11.4", NO_BOUND)
async def has_no_bound(streams, size):
    queue = asyncio.Queue()
    tasks = [
        asyncio.create_task(fill_and_close(queue, *item))
        for item in streams.items()
    ]
    try:
        for _ in tasks:
            while isinstance(item := await queue.get(), tuple):
                yield item
            if item is not None:
                raise item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@wrong("11.4", "a stream broke, and the reader still waits")
async def forgets_that_streams_break(streams, size):
    queue = asyncio.Queue(size)
    tasks = [
        asyncio.create_task(fill(queue, *item)) for item in streams.items()
    ]
    try:
        for _ in tasks:
            while (item := await queue.get()) is not None:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@wrong("11.4", "a stream broke, and the reader was not told")
async def swallows_the_error(streams, size):
    queue = asyncio.Queue(size)
    tasks = [
        asyncio.create_task(fill_and_close(queue, *item))
        for item in streams.items()
    ]
    try:
        while isinstance(item := await queue.get(), tuple) or item is None:
            if item:
                yield item
            elif all(task.done() for task in tasks) and queue.empty():
                break
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@wrong("11.4", NOT_CLOSED)
async def leaves_the_streams_open(streams, size):
    queue = asyncio.Queue(size)

    async def pump(label, stream):
        error = None
        try:
            async for piece in stream:
                await queue.put((label, piece))
        except Exception as caught:
            error = caught
        await queue.put(error)

    tasks = [asyncio.create_task(pump(*item)) for item in streams.items()]
    try:
        for _ in tasks:
            while isinstance(item := await queue.get(), tuple):
                yield item
            if item is not None:
                raise item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


kept = []


@wrong("11.4", NOT_CLOSED)
async def leaves_the_tasks(streams, size):
    queue = asyncio.Queue(size)
    tasks = [
        asyncio.create_task(fill_and_close(queue, *item))
        for item in streams.items()
    ]
    kept.extend(tasks)  # or they end when they are collected, now or later
    for _ in tasks:
        while isinstance(item := await queue.get(), tuple):
            yield item
        if item is not None:
            raise item


@wrong("11.4", "it yielded a int, not (label, piece)")
async def forgets_the_label(streams, size):
    queue = asyncio.Queue(size)
    tasks = [
        asyncio.create_task(fill(queue, *item)) for item in streams.items()
    ]
    for _ in tasks:
        while (item := await queue.get()) is not None:
            yield item[1]


@wrong("11.4", "all streams have ended, and the reader still waits")
async def has_no_end_mark(streams, size):
    queue = asyncio.Queue(size)

    async def pump(label, stream):
        async for piece in stream:
            await queue.put((label, piece))

    tasks = [asyncio.create_task(pump(*item)) for item in streams.items()]
    while not all(task.done() for task in tasks) or tasks:
        yield await queue.get()


@wrong(
    "11.4",
    "it returned a coroutine, not an async generator: yield each piece",
)
async def returns_a_list(streams, size):
    return [
        (label, piece)
        for label, stream in streams.items()
        async for piece in stream
    ]


@right("11.4")
async def uses_a_task_group(streams, size):
    queue = asyncio.Queue(size)

    async def all_of_them():
        try:
            async with asyncio.TaskGroup() as group:
                for item in streams.items():
                    group.create_task(pump(*item))
        except* Exception as failed:
            await queue.put(failed)
        await queue.put(None)

    async def pump(label, stream):
        async with aclosing(stream):
            async for piece in stream:
                await queue.put((label, piece))

    task = asyncio.create_task(all_of_them())
    try:
        while (item := await queue.get()) is not None:
            if isinstance(item, ExceptionGroup):
                raise item
            yield item
    finally:
        task.cancel()
        await asyncio.wait([task])
