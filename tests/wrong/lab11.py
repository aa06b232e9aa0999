"""Wrong answers to the check of lesson 11 and to lab 11."""

import asyncio

import openai

from tests.wrong import right, wrong


def ask(question):
    return {"messages": [("user", question)]}


async def text_of(graph, question):
    state = await graph.ainvoke(ask(question))
    return state["messages"][-1].text


# --- 11.0


async def pair_of(graph, question):
    state = await graph.ainvoke(ask(question))
    return question, state["messages"][-1].text


@wrong("11.0", "`turn` has 2 places, but 5 requests were in flight")
async def makes_its_own_semaphore(turn, graph, question):
    async with asyncio.Semaphore(2):
        return await pair_of(graph, question)


@wrong("11.0", "`turn` has 2 places, but 5 requests were in flight")
async def awaits_outside(turn, graph, question):
    async with turn:
        answer = pair_of(graph, question)
    return await answer


@wrong("11.0", "it returned a str, not (question, text)")
async def forgets_the_question(turn, graph, question):
    async with turn:
        return (await pair_of(graph, question))[1]


@wrong("11.0", "what it returned is not (question, text)")
async def returns_the_state(turn, graph, question):
    async with turn:
        return question, await graph.ainvoke(ask(question))


@wrong("11.0", "after a bug in a node the place was not given back")
async def does_not_give_it_back(turn, graph, question):
    await turn.acquire()
    pair = await pair_of(graph, question)
    turn.release()
    return pair


@wrong("11.0", "only 1 of 2 places were used: is the semaphore taken twice?")
async def takes_it_twice(turn, graph, question):
    async with turn, turn:
        return await pair_of(graph, question)


@wrong("11.0", "a bug in a node was swallowed: let it out")
async def swallows_the_failure(turn, graph, question):
    async with turn:
        try:
            return await pair_of(graph, question)
        except Exception as error:
            return question, str(error)


@right("11.0")
async def releases_by_hand(turn, graph, question):
    await turn.acquire()
    try:
        return await pair_of(graph, question)
    finally:
        turn.release()


# --- 11.1

MANY = "with a limit of 3, 8 requests were in flight"
ORDER = "the texts are in another order than the questions"
NOT_TAKEN = (
    "one run had ended, and the next one did not begin: a free place was not "
    "taken"
)


@wrong("11.1", MANY)
async def has_no_limit(graph, questions, limit):
    return await asyncio.gather(*[text_of(graph, q) for q in questions])


@wrong("11.1", MANY)
async def limits_each_run(graph, questions, limit):
    config = {"max_concurrency": limit}
    runs = [graph.ainvoke(ask(question), config) for question in questions]
    states = await asyncio.gather(*runs)
    return [state["messages"][-1].text for state in states]


@wrong("11.1", MANY)
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
    NOT_TAKEN,
)
async def runs_in_groups(graph, questions, limit):
    texts = []
    for start in range(0, len(questions), limit):
        group = questions[start : start + limit]
        texts += await asyncio.gather(*[text_of(graph, q) for q in group])
    return texts


@wrong("11.1", ORDER)
async def takes_them_as_they_come(graph, questions, limit):
    turn = asyncio.Semaphore(limit)

    async def one(question):
        async with turn:
            return await text_of(graph, question)

    runs = asyncio.as_completed(map(one, questions))
    return [await run for run in runs]


@wrong("11.1", "the list holds dict, not texts")
async def returns_the_states(graph, questions, limit):
    config = {"max_concurrency": limit}
    return await graph.abatch([*map(ask, questions)], config)


@wrong("11.1", "with a limit of 2, 3 requests were in flight")
async def has_a_limit_of_its_own(graph, questions, limit):
    turn = asyncio.Semaphore(3)

    async def one(question):
        async with turn:
            return await text_of(graph, question)

    return await asyncio.gather(*map(one, questions))


@wrong("11.1", "4 questions took 2 requests")
async def asks_equal_ones_once(graph, questions, limit):
    turn = asyncio.Semaphore(limit)

    async def one(question):
        async with turn:
            return question, await text_of(graph, question)

    found = dict(await asyncio.gather(*map(one, set(questions))))
    return [found[question] for question in questions]


@wrong("11.1", "a bug in a node was swallowed: let it out")
async def keeps_the_exceptions(graph, questions, limit):
    turn = asyncio.Semaphore(limit)

    async def one(question):
        async with turn:
            return await text_of(graph, question)

    runs = map(one, questions)
    return await asyncio.gather(*runs, return_exceptions=True)


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
    "after no connection 0 of 2 calls were cut off: the others went on, and "
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


@wrong("11.2", "it was cancelled from outside, and swallowed that")
async def swallows_a_cancel(graph, questions):
    texts, errors = {}, []

    async def one(question):
        texts[question] = await text_of(graph, question)

    try:
        async with asyncio.TaskGroup() as group:
            for question in questions:
                group.create_task(one(question))
    except* openai.APIError as failed:
        errors.extend(failed.exceptions)
    except* asyncio.CancelledError:
        pass
    return texts, errors


@wrong("11.2", "at most 1 request of 3 in flight: ask all at once")
async def asks_until_one_fails(graph, questions):
    texts = {}
    for question in questions:
        try:
            texts[question] = await text_of(graph, question)
        except openai.APIError as error:
            return texts, [error]
    return texts, []


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


# --- what the first judges did not see


@wrong(
    "11.1",
    "3 texts came, one of them empty: it returned ['Yes.', 'Yes.']",
)
async def drops_an_empty_text(graph, questions, limit):
    config = {"max_concurrency": limit}
    states = await graph.abatch([*map(ask, questions)], config)
    texts = [state["messages"][-1].text for state in states]
    return [text for text in texts if text]


@wrong("11.1", "after no connection it asked again: raise it")
async def tries_once_more(graph, questions, limit):
    turn = asyncio.Semaphore(limit)

    async def one(question):
        async with turn:
            try:
                return await text_of(graph, question)
            except openai.APIError:
                return await text_of(graph, question)

    return await asyncio.gather(*map(one, questions))
