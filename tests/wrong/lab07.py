"""Wrong answers to the check of lesson 07 and to lab 07."""

# People do call `time.sleep` in async functions.
# ruff: noqa: ASYNC251

import asyncio
import threading
import time
from contextlib import aclosing

import openai
from fastapi import HTTPException, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from tests.wrong import right, wrong


def ask(message):
    return {"messages": [("user", message)]}


def tokens(agent, message):
    return agent.astream(ask(message), stream_mode="messages")


# --- 07.0


@wrong(
    "07.0",
    "0 of 3 calls were cut off at the model: a run that is cancelled again "
    "and again cannot clean up",
)
async def cancels_again_and_again(runs):
    while not all(run.done() for run in runs):
        for run in runs:
            run.cancel()
        await asyncio.sleep(0)


@wrong(
    "07.0",
    "it returned while 3 of 3 runs still ran: `cancel` only asks, so wait "
    "for their end",
)
def only_asks(runs):
    for run in runs:
        run.cancel()


@wrong(
    "07.0",
    "it raised CancelledError: `await run` raises what ended the run",
)
async def awaits_each(runs):
    for run in runs:
        run.cancel()
        await run


@wrong(
    "07.0",
    "it raised CancelledError: `await run` raises what ended the run",
)
async def gathers_errors(runs):
    for run in runs:
        run.cancel()
    await asyncio.gather(*runs)


@wrong("07.0", "it waits until the runs have ended by themselves")
async def only_waits(runs):
    await asyncio.wait(runs)


@right("07.0")
async def gathers(runs):
    for run in runs:
        run.cancel()
    await asyncio.gather(*runs, return_exceptions=True)


# --- 07.1


@wrong(
    "07.1",
    "guests wait for each other: everybody waits at `for msg, _ in "
    'agent.stream(ask(message), stream_mode="messages"):`',
)
async def keeps_the_sync_stream(agent, table_of, message, guest):
    yield f"Table {await asyncio.to_thread(table_of, guest)}: "
    for msg, _ in agent.stream(ask(message), stream_mode="messages"):
        yield msg.text


@wrong(
    "07.1",
    "`table_of` ran on the event loop, where everybody waits for it: give it "
    "to a thread",
)
async def keeps_the_sync_library(agent, table_of, message, guest):
    yield f"Table {table_of(guest)}: "
    async for msg, _ in tokens(agent, message):
        yield msg.text


NOT_STREAMED = (
    "nothing was streamed: the model had finished before the first word came"
)


@wrong("07.1", NOT_STREAMED)
async def invokes(agent, table_of, message, guest):
    yield f"Table {await asyncio.to_thread(table_of, guest)}: "
    state = await asyncio.to_thread(agent.invoke, ask(message))
    yield state["messages"][-1].text


@wrong("07.1", NOT_STREAMED)
async def awaits_the_whole(agent, table_of, message, guest):
    yield f"Table {await asyncio.to_thread(table_of, guest)}: "
    state = await agent.ainvoke(ask(message))
    yield state["messages"][-1].text


@wrong(
    "07.1",
    "guests wait for each other: everybody waits at `time.sleep(0.5)`",
)
async def takes_a_breath(agent, table_of, message, guest):
    time.sleep(0.5)
    yield f"Table {await asyncio.to_thread(table_of, guest)}: "
    async for msg, _ in tokens(agent, message):
        yield msg.text


ONE, FIVE = asyncio.Lock(), asyncio.Semaphore(5)
THREADS = threading.Lock()


@wrong("07.1", "at most 1 of 20 guests got to the model at once")
async def takes_turns(agent, table_of, message, guest):
    async with ONE:
        yield f"Table {await asyncio.to_thread(table_of, guest)}: "
        async for msg, _ in tokens(agent, message):
            yield msg.text


@wrong("07.1", "at most 5 of 20 guests got to the model at once")
async def lets_five_in(agent, table_of, message, guest):
    async with FIVE:
        yield f"Table {await asyncio.to_thread(table_of, guest)}: "
        async for msg, _ in tokens(agent, message):
            yield msg.text


@wrong(
    "07.1", "guests wait for each other: everybody waits at `with THREADS:`"
)
async def locks_out_the_loop(agent, table_of, message, guest):
    with THREADS:
        yield f"Table {await asyncio.to_thread(table_of, guest)}: "
        async for msg, _ in tokens(agent, message):
            yield msg.text


@wrong("07.1", "it returned a coroutine, not a generator: `yield` the parts")
async def returns_the_text(agent, table_of, message, guest):
    table = await asyncio.to_thread(table_of, guest)
    state = await agent.ainvoke(ask(message))
    return f"Table {table}: {state['messages'][-1].text}"


@right("07.1")
def is_a_plain_generator(agent, table_of, message, guest):
    yield f"Table {table_of(guest)}: "
    for msg, _ in agent.stream(ask(message), stream_mode="messages"):
        yield msg.text


@right("07.1")
async def uses_the_pool_of_starlette(agent, table_of, message, guest):
    yield f"Table {await run_in_threadpool(table_of, guest)}: "
    async for msg, _ in tokens(agent, message):
        yield msg.text


# --- 07.2


LIMIT_200 = (
    "the model's rate limit got status 200: take the first part before you "
    "return the response"
)


async def joined(first, parts):
    yield first
    async for part in parts:
        yield part


@wrong("07.2", LIMIT_200)
async def streams_at_once(parts):
    return StreamingResponse(parts)


@wrong("07.2", LIMIT_200)
async def raises_in_the_stream(parts):
    async def all_parts():
        try:
            async for part in parts:
                yield part
        except openai.RateLimitError:
            raise HTTPException(429) from None
        except openai.APIError:
            raise HTTPException(502) from None

    return StreamingResponse(all_parts())


@wrong("07.2", LIMIT_200)
async def says_it_in_the_stream(parts):
    async def all_parts():
        try:
            async for part in parts:
                yield part
        except openai.APIError as error:
            yield f"Sorry: {error}"

    return StreamingResponse(all_parts())


@wrong("07.2", "the model's rate limit got status 502, not 429")
async def asks_for_any_error_first(parts):
    try:
        first = await anext(parts)
    except openai.APIError:
        raise HTTPException(502) from None
    except openai.RateLimitError:
        raise HTTPException(429) from None
    return StreamingResponse(joined(first, parts))


@wrong("07.2", "an error of the model got status 503, not 502")
async def answers_unavailable(parts):
    try:
        first = await anext(parts)
    except openai.RateLimitError:
        raise HTTPException(429) from None
    except openai.APIError:
        raise HTTPException(503) from None
    return StreamingResponse(joined(first, parts))


@wrong(
    "07.2",
    "the model's rate limit got status 500: nothing caught the error",
)
async def catches_nothing(parts):
    return StreamingResponse(joined(await anext(parts), parts))


@wrong(
    "07.2", "an error of the model got status 500: nothing caught the error"
)
async def catches_only_the_limit(parts):
    try:
        first = await anext(parts)
    except openai.RateLimitError:
        raise HTTPException(429) from None
    return StreamingResponse(joined(first, parts))


@wrong("07.2", NOT_STREAMED)
async def collects_all(parts):
    try:
        text = "".join([part async for part in parts])
    except openai.RateLimitError:
        raise HTTPException(429) from None
    except openai.APIError:
        raise HTTPException(502) from None
    return Response(text)


@wrong(
    "07.2",
    "the client got '! I am the practice model. Ask me about async "
    "streaming.', not 'Hello! I am the practice model. Ask me about async "
    "streaming.'",
)
async def loses_the_first(parts):
    try:
        await anext(parts)
    except openai.RateLimitError:
        raise HTTPException(429) from None
    except openai.APIError:
        raise HTTPException(502) from None
    return StreamingResponse(parts)


TOOK_IT_FOR_WHOLE = (
    "the model broke off after 3 tokens, and the client took it for the "
    "whole answer"
)


@wrong("07.2", TOOK_IT_FOR_WHOLE)
async def hides_the_later_error(parts):
    async def all_parts():
        yield first
        try:
            async for part in parts:
                yield part
        except openai.APIError:
            pass

    try:
        first = await anext(parts)
    except openai.RateLimitError:
        raise HTTPException(429) from None
    except openai.APIError:
        raise HTTPException(502) from None
    return StreamingResponse(all_parts())


@wrong("07.2", "it returned an async generator, not a StreamingResponse")
async def returns_the_parts(parts):
    return joined(await anext(parts), parts)


# --- 07.3


WROTE_ON = "a client left after 3 words, and the model wrote on"


@wrong("07.3", WROTE_ON)
async def passes_on(stream):
    async for part in stream:
        yield part


@wrong("07.3", WROTE_ON)
async def closes_it(stream):
    async with aclosing(stream):
        async for part in stream:
            yield part


@wrong("07.3", WROTE_ON)
async def cancels_at_the_end(stream):
    async def pump():
        async for part in stream:
            queue.put_nowait(part)

    queue, run = asyncio.Queue(), asyncio.create_task(pump())
    run.add_done_callback(queue.put_nowait)
    while (part := await queue.get()) is not run:
        yield part
    await run
    run.cancel()


@wrong("07.3", WROTE_ON)
async def waits_for_generator_exit(stream):
    async def pump():
        async for part in stream:
            queue.put_nowait(part)

    queue, run = asyncio.Queue(), asyncio.create_task(pump())
    run.add_done_callback(queue.put_nowait)
    try:
        while (part := await queue.get()) is not run:
            yield part
        await run
    except GeneratorExit:
        run.cancel()
        raise


@wrong("07.3", TOOK_IT_FOR_WHOLE)
async def hides_the_error(stream):
    async def pump():
        async for part in stream:
            queue.put_nowait(part)

    queue, run = asyncio.Queue(), asyncio.create_task(pump())
    run.add_done_callback(queue.put_nowait)
    try:
        while (part := await queue.get()) is not run:
            yield part
    finally:
        run.cancel()


RUNS = []


@wrong("07.3", "a client left, and another one, who stayed, lost the answer")
async def cancels_everybody(stream):
    async def pump():
        async for part in stream:
            queue.put_nowait(part)

    queue, run = asyncio.Queue(), asyncio.create_task(pump())
    RUNS.append(run)
    run.add_done_callback(queue.put_nowait)
    try:
        while (part := await queue.get()) is not run:
            yield part
        await run
    finally:
        for run in RUNS:
            run.cancel()


@wrong(
    "07.3",
    "a client left before the first token, and the model stopped only after "
    "it",
)
async def sets_a_flag(stream):
    async def pump():
        async with aclosing(stream):
            async for part in stream:
                if left.is_set():
                    break
                queue.put_nowait(part)

    left = asyncio.Event()
    queue, run = asyncio.Queue(), asyncio.create_task(pump())
    run.add_done_callback(queue.put_nowait)
    try:
        while (part := await queue.get()) is not run:
            yield part
        await run
    finally:
        left.set()


@wrong("07.3", "a client got nothing for 8 s")
async def never_ends(stream):
    async def pump():
        async for part in stream:
            queue.put_nowait(part)

    queue, run = asyncio.Queue(), asyncio.create_task(pump())
    try:
        while True:
            yield await queue.get()
    finally:
        run.cancel()


@wrong(
    "07.3",
    "it returned a coroutine, not an async generator: `yield` each part",
)
async def returns_a_list(stream):
    return [part async for part in stream]


@right("07.3")
async def queues_the_error(stream):
    async def pump():
        try:
            async for part in stream:
                await queue.put(part)
        except Exception as error:
            await queue.put(error)
        await queue.put(None)

    queue = asyncio.Queue(8)
    run = asyncio.create_task(pump())
    try:
        while (part := await queue.get()) is not None:
            if isinstance(part, Exception):
                raise part
            yield part
    finally:
        run.cancel()


# --- 07.4


async def honest(parts):
    try:
        first = await anext(parts)
    except openai.RateLimitError:
        raise HTTPException(429) from None
    except openai.APIError:
        raise HTTPException(502) from None
    return StreamingResponse(joined(first, parts))


async def hung_up(request):
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def first_of(answer, request):
    gone = asyncio.create_task(hung_up(request))
    await asyncio.wait([answer, gone], return_when="FIRST_COMPLETED")
    gone.cancel()


ONLY_AFTER_IT = (
    "a client left before the first token, and the model stopped only after it"
)


@wrong("07.4", ONLY_AFTER_IT)
async def looks_only_while_it_streams(request, stream):
    return await honest(queues_the_error(stream))


@wrong("07.4", ONLY_AFTER_IT)
async def leaves_the_task_alone(request, stream):
    answer = asyncio.create_task(honest(queues_the_error(stream)))
    await first_of(answer, request)
    return await answer if answer.done() else Response()


@wrong("07.4", LIMIT_200)
async def streams_in_its_own_task(request, stream):
    return StreamingResponse(queues_the_error(stream))


@wrong("07.4", WROTE_ON)
async def forgets_the_task(request, stream):
    answer = asyncio.create_task(honest(stream))
    await first_of(answer, request)
    if answer.done():
        return await answer
    answer.cancel()
    return Response()


@wrong("07.4", "a client got nothing for 8 s")
async def waits_for_the_end_of_the_client(request, stream):
    answer = asyncio.create_task(honest(queues_the_error(stream)))
    await hung_up(request)
    answer.cancel()
    return Response()


@wrong("07.4", "it returned a Task, not a response")
async def returns_the_task(request, stream):
    answer = asyncio.create_task(honest(queues_the_error(stream)))
    await first_of(answer, request)
    return answer


@right("07.4")
async def looks_every_now_and_then(request, stream):
    answer = asyncio.create_task(honest(queues_the_error(stream)))
    while not answer.done():
        if await request.is_disconnected():
            answer.cancel()
            return Response()
        await asyncio.wait([answer], timeout=0.05)
    return await answer
