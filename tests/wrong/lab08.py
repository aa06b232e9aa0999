"""Wrong answers, and right ones, to lesson 08 and lab 08."""

from tests.wrong import changed

changed(
    "08.0",
    """
    0 of 3 calls were cut off at the model: a run that is cancelled again and
    again cannot clean up
    - for run in runs:
    -     run.cancel()
    - await asyncio.gather(*runs, return_exceptions=True)
    + while not all(run.done() for run in runs):
    +     for run in runs:
    +         run.cancel()
    +     await asyncio.sleep(0)

    it returned, and 3 of 3 runs still ran
    - await asyncio.gather(*runs, return_exceptions=True)

    it raised CancelledError: `await run` raises what ended the run
    - await asyncio.gather(*runs, return_exceptions=True)
    + for run in runs:
    +     await run

    it waits until the runs have ended by themselves
    - run.cancel()
    + pass

    for a server without runs it raised ValueError: Set of Tasks/Futures is
    empty
    - await asyncio.gather(*runs, return_exceptions=True)
    + await asyncio.wait(runs)

    ✅
    - await asyncio.gather(*runs, return_exceptions=True)
    + if runs:
    +     await asyncio.wait(runs)
    """,
)

changed(
    "08.1",
    """
    a reader whom AnyIO cancelled, as Starlette does, left before the first
    part, and the model wrote on
    - queue = asyncio.Queue()
    + from contextlib import aclosing
    + async with aclosing(stream):
    +     async for part in stream:
    +         yield part
    + return
    + queue = asyncio.Queue()

    a reader whose task was cancelled left before the first part, and the model
    wrote on
    - finally:
    -     run.cancel()
    + finally:
    +     pass

    a reader whose task was cancelled left before the first part, and the model
    wrote on
    - finally:
    -     run.cancel()
    + except GeneratorExit:
    +     run.cancel()
    +     raise

    after a bug in a node it looks whole: raise that
    - await run

    a reader left, and the run of another one was cut off
    - run = asyncio.create_task(pump())
    + run = asyncio.create_task(pump())
    + runs = globals().setdefault("runs", [])
    + runs.append(run)
    @@
    - run.cancel()
    + for each in runs:
    +     each.cancel()

    a reader left, and another one, who stayed, lost parts
    - run = asyncio.create_task(pump())
    + global run
    + run = asyncio.create_task(pump())

    of the parts [0, None, '', 'soup', 'soup', False, [], {}, 'bread'] came
    [0]: whatever a part is, it is no end
    - if part is END:
    + if part is END or part is None:

    a bug in a node ends its stream, and the reader waits on
    - try:
    -     async for part in stream:
    -         queue.put_nowait(part)
    - finally:
    -     queue.put_nowait(END)
    + async for part in stream:
    +     queue.put_nowait(part)
    + queue.put_nowait(END)

    it raised TimeoutError, at `part = await asyncio.wait_for(queue.get(), 9)`
    - part = await queue.get()
    + part = await asyncio.wait_for(queue.get(), 9)

    it never ends, although its stream has ended
    - if part is END:
    -     break
    + if part is END:
    +     continue

    it returned a coroutine, not an async generator: `yield` each part
    - yield part
    + print(part)

    it raised ExceptionGroup('unhandled errors in a TaskGroup',
    [KeyError('dish')]), not KeyError('dish')
    - run = asyncio.create_task(pump())
    - try:
    -     while True:
    -         part = await queue.get()
    -         if part is END:
    -             break
    -         yield part
    -     await run
    - finally:
    -     run.cancel()
    + import anyio
    + async with anyio.create_task_group() as group:
    +     group.start_soon(pump)
    +     while True:
    +         part = await queue.get()
    +         if part is END:
    +             break
    +         yield part

    ✅
    - try:
    -     async for part in stream:
    -         queue.put_nowait(part)
    - finally:
    -     queue.put_nowait(END)
    + try:
    +     async for part in stream:
    +         await queue.put((part, None))
    +     await queue.put((END, None))
    + except Exception as error:
    +     await queue.put((END, error))
    @@
    - queue = asyncio.Queue()
    + queue = asyncio.Queue(8)
    @@
    - part = await queue.get()
    + part, error = await queue.get()
    + if error:
    +     raise error

    ✅
    - async def in_own_task(stream):
    + class in_own_task:
    +     def __init__(self, stream):
    +         self.parts = parts_of(stream)
    +     def __aiter__(self):
    +         return self
    +     async def __anext__(self):
    +         return await anext(self.parts)
    +     async def aclose(self):
    +         await self.parts.aclose()
    + async def parts_of(stream):
    """,
)

changed(
    "08.2",
    """
    a client left before the first part, and the model wrote on
    - await asyncio.wait([answer, gone], return_when="FIRST_COMPLETED")
    + await asyncio.wait([answer])

    a client left before the first part, and the model wrote on
    - answer.cancel()

    no connection got status 200: raise what `honest` raises
    - answer = asyncio.create_task(honest(in_own_task(stream)))
    + answer = asyncio.get_running_loop().create_future()
    + answer.set_result(StreamingResponse(in_own_task(stream)))

    a client left after one part, and the model wrote on
    - answer = asyncio.create_task(honest(in_own_task(stream)))
    + answer = asyncio.create_task(honest(stream))

    when its response was complete, a task still waited for the client
    - gone.cancel()

    it returns no response while the model writes
    - await asyncio.wait([answer, gone], return_when="FIRST_COMPLETED")
    + await asyncio.wait([answer, gone])

    it returned a Task, not a response
    - return await answer
    + return answer

    a client left, and it raised CancelledError
    - return Response()
    + return await answer

    ✅
    - gone = asyncio.create_task(hung_up(request))
    - await asyncio.wait([answer, gone], return_when="FIRST_COMPLETED")
    - gone.cancel()
    - if answer.done():
    + try:
    +     while not answer.done():
    +         await asyncio.wait([answer], timeout=0.05)
    +         if not answer.done() and await request.is_disconnected():
    +             return Response(status_code=499)
    -     return await answer
    - answer.cancel()
    - return Response()
    +     return await answer
    + finally:
    +     answer.cancel()
    """,
)
