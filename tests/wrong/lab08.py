"""Wrong answers to the check of lesson 08 and to lab 08."""

import asyncio
from contextlib import aclosing

import anyio
import openai
from fastapi import HTTPException, Response
from fastapi.responses import StreamingResponse

from tests.wrong import right, wrong

END = object()

# --- 08.0


@wrong(
    "08.0",
    "0 of 3 calls were cut off at the model: a run that is cancelled "
    "again and again cannot clean up",
)
async def cancels_again_and_again(runs):
    while not all(run.done() for run in runs):
        for run in runs:
            run.cancel()
        await asyncio.sleep(0)


@wrong(
    "08.0",
    "it returned while 3 of 3 runs still ran: `cancel` only asks, so "
    "wait for their end",
)
def only_asks(runs):
    for run in runs:
        run.cancel()


@wrong(
    "08.0",
    "it raised CancelledError: `await run` raises what ended the run",
)
async def awaits_each(runs):
    for run in runs:
        run.cancel()
        await run


@wrong(
    "08.0",
    "it raised CancelledError: `await run` raises what ended the run",
)
async def gathers_errors(runs):
    for run in runs:
        run.cancel()
    await asyncio.gather(*runs)


@wrong(
    "08.0",
    "it waits until the runs have ended by themselves",
)
async def only_waits(runs):
    await asyncio.gather(*runs, return_exceptions=True)


@wrong(
    "08.0",
    "for a server without runs it raised ValueError: Set of "
    "Tasks/Futures is empty",
)
async def waits_for_none(runs):
    for run in runs:
        run.cancel()
    await asyncio.wait(runs)


@right("08.0")
async def waits_if_there_are_any(runs):
    for run in runs:
        run.cancel()
    if runs:
        await asyncio.wait(runs)


# --- 08.1


def reading(stream, queue):
    async def pump():
        try:
            async for part in stream:
                queue.put_nowait(part)
        finally:
            queue.put_nowait(END)

    return asyncio.create_task(pump())


@wrong(
    "08.1",
    "a reader whom AnyIO cancelled, as Starlette does, left before the "
    "first part, and the model wrote on",
)
async def passes_on(stream):
    async for part in stream:
        yield part


@wrong(
    "08.1",
    "a reader whom AnyIO cancelled, as Starlette does, left before the "
    "first part, and the model wrote on",
)
async def closes_it(stream):
    async with aclosing(stream):
        async for part in stream:
            yield part


@wrong(
    "08.1",
    "a reader whose task was cancelled left before the first part, and "
    "the model wrote on",
)
async def cancels_at_the_end(stream):
    queue = asyncio.Queue()
    run = reading(stream, queue)
    while (part := await queue.get()) is not END:
        yield part
    await run
    run.cancel()


@wrong(
    "08.1",
    "a reader whose task was cancelled left before the first part, and "
    "the model wrote on",
)
async def waits_for_generator_exit(stream):
    queue = asyncio.Queue()
    run = reading(stream, queue)
    try:
        while (part := await queue.get()) is not END:
            yield part
        await run
    except GeneratorExit:
        run.cancel()
        raise


@wrong(
    "08.1",
    "a bug in a node broke the stream off, and it looks whole: raise it",
)
async def hides_the_error(stream):
    queue = asyncio.Queue()
    run = reading(stream, queue)
    try:
        while (part := await queue.get()) is not END:
            yield part
    finally:
        run.cancel()


RUNS = []


@wrong(
    "08.1",
    "a reader left, and the run of another one was cut off",
)
async def cancels_everybody(stream):
    queue = asyncio.Queue()
    RUNS.append(reading(stream, queue))
    run = RUNS[-1]
    try:
        while (part := await queue.get()) is not END:
            yield part
        await run
    finally:
        for each in RUNS:
            each.cancel()


@wrong(
    "08.1",
    "of the parts [0, None, '', 'soup', 'soup', False, [], {}, 'bread'] "
    "came [0]: whatever a part is, it is no end",
)
async def ends_at_none(stream):
    async def pump():
        try:
            async for part in stream:
                queue.put_nowait(part)
        finally:
            queue.put_nowait(None)

    queue = asyncio.Queue()
    run = asyncio.create_task(pump())
    try:
        while (part := await queue.get()) is not None:
            yield part
        await run
    finally:
        run.cancel()


@wrong(
    "08.1",
    "a bug in a node ends its stream, and the reader waits on",
)
async def sets_a_flag(stream):
    async def pump():
        async with aclosing(stream):
            async for part in stream:
                if left.is_set():
                    break
                queue.put_nowait(part)
        queue.put_nowait(END)

    left, queue = asyncio.Event(), asyncio.Queue()
    run = asyncio.create_task(pump())
    try:
        while (part := await queue.get()) is not END:
            yield part
        await run
    finally:
        left.set()


@wrong(
    "08.1",
    "it never ends, although its stream has ended",
)
async def never_ends(stream):
    queue = asyncio.Queue()
    run = reading(stream, queue)
    try:
        while True:
            yield await queue.get()
    finally:
        run.cancel()


@wrong(
    "08.1",
    "it returned a coroutine, not an async generator: `yield` each part",
)
async def returns_a_list(stream):
    return [part async for part in stream]


@wrong(
    "08.1",
    "it raised ExceptionGroup('unhandled errors in a TaskGroup', "
    "[KeyError('dish')]), not KeyError('dish')",
)
async def takes_a_task_group(stream):
    send, receive = anyio.create_memory_object_stream(100)

    async def pump():
        async with send:
            async for part in stream:
                await send.send(part)

    async with anyio.create_task_group() as group:
        group.start_soon(pump)
        async with receive:
            async for part in receive:
                yield part


@right("08.1")
async def queues_the_error(stream):
    async def pump():
        try:
            async for part in stream:
                await queue.put((part, None))
            await queue.put((END, None))
        except Exception as error:
            await queue.put((END, error))

    queue = asyncio.Queue(8)
    run = asyncio.create_task(pump())
    try:
        while True:
            part, error = await queue.get()
            if error:
                raise error
            if part is END:
                break
            yield part
    finally:
        run.cancel()


@right("08.1")
class InOwnTask:
    """The same as an iterator with a method to close it."""

    def __init__(self, stream):
        self.parts = queues_the_error(stream)

    def __aiter__(self):
        return self

    async def __anext__(self):
        return await anext(self.parts)

    async def aclose(self):
        await self.parts.aclose()


# --- 08.2


async def joined(first, parts):
    yield first
    async for part in parts:
        yield part


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


@wrong(
    "08.2",
    "a client left before the first part, and the model wrote on",
)
async def looks_only_while_it_streams(request, stream):
    return await honest(queues_the_error(stream))


@wrong(
    "08.2",
    "a client left before the first part, and the model wrote on",
)
async def leaves_the_task_alone(request, stream):
    answer = asyncio.create_task(honest(queues_the_error(stream)))
    gone = asyncio.create_task(hung_up(request))
    await asyncio.wait([answer, gone], return_when="FIRST_COMPLETED")
    gone.cancel()
    return await answer if answer.done() else Response()


@wrong(
    "08.2",
    "no connection got status 200: raise what `honest` raises",
)
async def streams_in_its_own_task(request, stream):
    return StreamingResponse(queues_the_error(stream))


@wrong(
    "08.2",
    "a client left after one part, and the model wrote on",
)
async def forgets_the_task(request, stream):
    answer = asyncio.create_task(honest(stream))
    gone = asyncio.create_task(hung_up(request))
    await asyncio.wait([answer, gone], return_when="FIRST_COMPLETED")
    gone.cancel()
    if answer.done():
        return await answer
    answer.cancel()
    return Response()


@wrong(
    "08.2",
    "when its response was complete, a task still waited for the client "
    "to hang up: cancel it",
)
async def goes_on_listening(request, stream):
    answer = asyncio.create_task(honest(queues_the_error(stream)))
    gone = asyncio.create_task(hung_up(request))
    await asyncio.wait([answer, gone], return_when="FIRST_COMPLETED")
    if answer.done():
        return await answer
    answer.cancel()
    return Response()


@wrong(
    "08.2",
    "it returns no response while the model writes: the first part is enough",
)
async def waits_for_both(request, stream):
    answer = asyncio.create_task(honest(queues_the_error(stream)))
    await asyncio.wait([answer, asyncio.create_task(hung_up(request))])
    return await answer


@wrong(
    "08.2",
    "it returned a Task, not a response",
)
async def returns_the_task(request, stream):
    return asyncio.create_task(honest(queues_the_error(stream)))


@wrong(
    "08.2",
    "a client left, and it raised CancelledError",
)
async def returns_nothing_to_who_left(request, stream):
    answer = asyncio.create_task(honest(queues_the_error(stream)))
    gone = asyncio.create_task(hung_up(request))
    await asyncio.wait([answer, gone], return_when="FIRST_COMPLETED")
    gone.cancel()
    if answer.done():
        return await answer
    answer.cancel()
    return await answer


@right("08.2")
async def looks_now_and_then(request, stream):
    answer = asyncio.create_task(honest(queues_the_error(stream)))
    try:
        while not answer.done():
            await asyncio.wait([answer], timeout=0.05)
            if not answer.done() and await request.is_disconnected():
                return Response(status_code=499)
        return await answer
    finally:
        answer.cancel()
