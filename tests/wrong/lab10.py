"""Answers to the check of lesson 10 and to lab 10."""

import asyncio

import openai
from fastapi import Depends, FastAPI, HTTPException, WebSocket
from fastapi.responses import StreamingResponse

from tests.wrong import changed, right


@right("10.0")
def matches(error):
    match error:
        case openai.RateLimitError(response=response):
            wait = response.headers.get("Retry-After") or "1"
            return HTTPException(429, headers={"Retry-After": wait})
        case TimeoutError() | openai.APITimeoutError():
            return HTTPException(504, "late")
    return HTTPException(502, "failed")


@right("10.1")
def counts_places(tokens, cap):
    app, taken = FastAPI(), 0

    async def place():
        nonlocal taken
        if taken >= cap:
            raise HTTPException(503, "full", {"Retry-After": "5"})
        taken += 1
        try:
            yield
        finally:
            taken -= 1

    @app.get("/chat", dependencies=[Depends(place)])
    async def chat(question: str):
        return StreamingResponse(tokens(question))

    return app


@right("10.2")
def takes_a_task_group(tokens):
    app = FastAPI()

    async def answer(socket, question):
        async for piece in tokens(question):
            await socket.send_text(piece)
        await socket.send_text("[end]")

    @app.websocket("/chat")
    async def endpoint(socket: WebSocket):
        await socket.accept()
        async with asyncio.TaskGroup() as group:
            answering = None
            async for question in socket.iter_text():
                if answering:
                    answering.cancel()
                answering = group.create_task(answer(socket, question))
            if answering:
                answering.cancel()

    return app


changed(
    "10.0",
    """
    LangChain's rate limit got 502, not 429
    - if isinstance(error, openai.RateLimitError):
    + if type(error) is openai.RateLimitError:

    a rate limit without Retry-After raised KeyError: many send none
    - wait = error.response.headers.get("retry-after", "1")
    + wait = error.response.headers["retry-after"]

    429 came without Retry-After
    - return HTTPException(429, "asked too often", {"Retry-After": wait})
    + return HTTPException(429, "asked too often")

    429 came with Retry-After 1; the model had said 7
    - wait = error.response.headers.get("retry-after", "1")
    + wait = "1"

    Retry-After is 7: a header is a text
    - return HTTPException(429, "asked too often", {"Retry-After": wait})
    + return HTTPException(429, "asked too often", {"Retry-After": int(wait)})

    the client reads the text of the error, and a key in it
    - return HTTPException(429, "asked too often", {"Retry-After": wait})
    + return HTTPException(429, str(error), {"Retry-After": wait})

    it raised the HTTPException: return it, the endpoint raises it
    - return HTTPException(429, "asked too often", {"Retry-After": wait})
    + raise HTTPException(429, "asked too often", {"Retry-After": wait})
    """,
)


changed(
    "10.1",
    """
    nobody was refused: 3 of 5 clients waited for a place instead
    - if places.locked():
    + if False:

    it waited before it refused: say 503 at once
      async def place():
    +     if places.locked():
    +         await asyncio.sleep(1)

    3 answers were under way at once, not 2: a place is taken until the stream
    has ended
    - places = asyncio.Semaphore(cap)
    + places = asyncio.Semaphore(3)

    5 answers were under way at once, not 2: a place is taken until the stream
    has ended
    - @app.get("/chat", dependencies=[Depends(place)])
    + @app.get("/chat")
      async def chat(question: str):
    +     if places.locked():
    +         raise HTTPException(503, "full", {"Retry-After": "1"})
    +     async with places:
    +         return StreamingResponse(tokens(question))

    after 2 answers that failed 5 clients got 5 x 503; expected 2 x 200 and 3 x
    503
    - async with places:
    -     yield
    + await places.acquire()
    + yield
    + places.release()

    after 2 clients that hung up 5 clients got 5 x 503; expected 2 x 200 and 3
    x 503
    - async with places:
    -     yield
    + await places.acquire()
    + yield
    @@
    - return StreamingResponse(tokens(question))
    + async def parts():
    +     try:
    +         async for part in tokens(question):
    +             yield part
    +     except Exception:
    +         places.release()
    +         raise
    +     places.release()
    +
    + return StreamingResponse(parts())

    3 answers were under way at once, not 2: a place is taken until the stream
    has ended
      if places.locked():
    +     places.release()

    the surplus got 429, which means that this client asks too often; a full
    service says 503
    - raise HTTPException(503, "full", {"Retry-After": "1"})
    + raise HTTPException(429, "full", {"Retry-After": "1"})

    Retry-After is '0.5', not whole seconds from 1 on
    - raise HTTPException(503, "full", {"Retry-After": "1"})
    + raise HTTPException(503, "full", {"Retry-After": "0.5"})

    503 came without Retry-After: say when to come
    - raise HTTPException(503, "full", {"Retry-After": "1"})
    + raise HTTPException(503, "full")
    """,
)


changed(
    "10.2",
    """
    ✅
      async for question in socket.iter_text():
          if answering:
              answering.cancel()
    +         await asyncio.wait([answering])

    a question that came while an answer was written had to wait for its end:
    nobody listened
    - answering = asyncio.create_task(answer(question))
    + await answer(question)

    a new question came, and the answer before it was written on
      async for question in socket.iter_text():
    -     if answering:
    -         answering.cancel()

    a connection was closed, and its answer was written on
      finally:
    -     if answering:
    -         answering.cancel()
    +     pass

    the app closed the connection
    - async for question in socket.iter_text():
    + for question in [await socket.receive_text()]:
          if answering:
              answering.cancel()
    -     answering = asyncio.create_task(answer(question))
    +     await answer(question)

    'soup' got ['A', ' reply', ' to', ' soup'], not ['A', ' reply', ' to', '
    soup', '[end]']
    - await socket.send_text("[end]")

    nothing was streamed: the first piece came with the last one
    - async for piece in tokens(question):
    + for piece in [piece async for piece in tokens(question)]:

    a client asked again, and the answer of another one was cut off
    - answering = None
    + nonlocal answering
    @@
      app = FastAPI()
    + answering = None

    a WebSocket at /chat got status 403
    - @app.websocket("/chat")
    + @app.websocket("/socket")

    a new question came, and the answer before it was written on
    + begun = set()
    +
      async def answer(question):
          async for piece in tokens(question):
    +         begun.add(asyncio.current_task())
    @@
      async for question in socket.iter_text():
    -     if answering:
    +     if answering in begun:
    """,
)
