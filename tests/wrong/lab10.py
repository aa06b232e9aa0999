"""Wrong answers to the check of lesson 10 and to lab 10."""

import asyncio

import openai
from fastapi import Depends, FastAPI, HTTPException, WebSocket
from fastapi.responses import StreamingResponse

from tests.wrong import right, wrong

# --- 10.0


def other(error):
    if isinstance(error, TimeoutError | openai.APITimeoutError):
        return HTTPException(504, "late")
    return HTTPException(502, "failed")


@wrong(
    "10.0",
    "LangChain's rate limit got 502, not 429",
)
def looks_the_type_up(error):
    if type(error) is openai.RateLimitError:
        wait = error.response.headers.get("retry-after", "1")
        return HTTPException(429, "busy", {"Retry-After": wait})
    return other(error)


@wrong(
    "10.0",
    "a rate limit without Retry-After raised KeyError: many send none",
)
def needs_the_header(error):
    if isinstance(error, openai.RateLimitError):
        wait = error.response.headers["retry-after"]
        return HTTPException(429, "busy", {"Retry-After": wait})
    return other(error)


@wrong(
    "10.0",
    "429 came without Retry-After",
)
def says_no_time(error):
    if isinstance(error, openai.RateLimitError):
        return HTTPException(429, "busy")
    return other(error)


@wrong(
    "10.0",
    "429 came with Retry-After 1; the model had said 7",
)
def always_says_one(error):
    if isinstance(error, openai.RateLimitError):
        return HTTPException(429, "busy", {"Retry-After": "1"})
    return other(error)


@wrong(
    "10.0",
    "Retry-After is 7: a header is a text",
)
def writes_a_number(error):
    if isinstance(error, openai.RateLimitError):
        wait = error.response.headers.get("retry-after", "1")
        return HTTPException(429, "busy", {"Retry-After": int(wait)})
    return other(error)


@wrong(
    "10.0",
    "the client reads the text of the error, and a key in it",
)
def quotes_the_error(error):
    if isinstance(error, openai.RateLimitError):
        wait = error.response.headers.get("retry-after", "1")
        return HTTPException(429, str(error), {"Retry-After": wait})
    return other(error)


@wrong(
    "10.0",
    "it raised the HTTPException: return it, the endpoint raises it",
)
def raises_it(error):
    raise other(error)


@wrong(
    "10.0",
    "a rate limit got 502, not 429",
)
def forgets_the_limit(error):
    return other(error)


@right("10.0")
def matches(error):
    match error:
        case openai.RateLimitError(response=response):
            wait = response.headers.get("Retry-After") or "1"
            return HTTPException(429, headers={"Retry-After": wait})
    return other(error)


# --- 10.1


def app_with(place, tokens):
    app = FastAPI()

    @app.get("/chat", dependencies=[Depends(place)])
    async def chat(question: str):
        return StreamingResponse(tokens(question))

    return app


FULL = {"Retry-After": "1"}


@right("10.1")
def counts_places(tokens, cap):
    taken = 0

    async def place():
        nonlocal taken
        if taken >= cap:
            raise HTTPException(503, "full", FULL)
        taken += 1
        try:
            yield
        finally:
            taken -= 1

    return app_with(place, tokens)


@right("10.1")
def hands_out_tickets(tokens, cap):
    tickets = list(range(cap))

    async def place():
        if not tickets:
            raise HTTPException(503, "full", {"Retry-After": "5"})
        ticket = tickets.pop()
        try:
            yield ticket
        finally:
            tickets.append(ticket)

    return app_with(place, tokens)


@wrong(
    "10.1",
    "nobody was refused: 3 of 5 clients waited for a place instead",
)
def lets_them_wait(tokens, cap):
    places = asyncio.Semaphore(cap)

    async def place():
        async with places:
            yield

    return app_with(place, tokens)


@wrong(
    "10.1",
    "3 answers were under way at once, not 2: a place is taken until "
    "the stream has ended",
)
def has_three_places(tokens, cap):
    return counts_places(tokens, 3)


@wrong(
    "10.1",
    "5 answers were under way at once, not 2: a place is taken until "
    "the stream has ended",
)
def frees_the_place_before_the_stream(tokens, cap):
    app, places = FastAPI(), asyncio.Semaphore(cap)

    @app.get("/chat")
    async def chat(question: str):
        if places.locked():
            raise HTTPException(503, "full", FULL)
        async with places:
            return StreamingResponse(tokens(question))

    return app


@wrong(
    "10.1",
    "after 2 answers that failed 5 clients got 5 x 503; expected 2 x "
    "200 and 3 x 503",
)
def keeps_the_place_of_who_failed(tokens, cap):
    taken = 0

    async def place():
        nonlocal taken
        if taken >= cap:
            raise HTTPException(503, "full", FULL)
        taken += 1
        yield
        taken -= 1

    app = FastAPI()

    @app.get("/chat", dependencies=[Depends(place)])
    async def chat(question: str):
        return StreamingResponse(tokens(question))

    return app


@wrong(
    "10.1",
    "after 2 clients that hung up 5 clients got 5 x 503; expected 2 x "
    "200 and 3 x 503",
)
def keeps_the_place_of_who_left(tokens, cap):
    app, taken = FastAPI(), 0

    @app.get("/chat")
    async def chat(question: str):
        nonlocal taken

        async def parts():
            nonlocal taken
            try:
                async for part in tokens(question):
                    yield part
            except Exception:
                taken -= 1
                raise
            taken -= 1

        if taken >= cap:
            raise HTTPException(503, "full", FULL)
        taken += 1
        return StreamingResponse(parts())

    return app


@wrong(
    "10.1",
    "3 answers were under way at once, not 2: a place is taken until "
    "the stream has ended",
)
def gives_back_what_it_refused(tokens, cap):
    taken = 0

    async def place():
        nonlocal taken
        try:
            if taken >= cap:
                raise HTTPException(503, "full", FULL)
            taken += 1
            yield
        finally:
            taken -= 1

    return app_with(place, tokens)


@wrong(
    "10.1",
    "the surplus got 429, which means that this client asks too often; "
    "a full service says 503",
)
def says_429(tokens, cap):
    places = asyncio.Semaphore(cap)

    async def place():
        if places.locked():
            raise HTTPException(429, "full", FULL)
        async with places:
            yield

    return app_with(place, tokens)


@wrong(
    "10.1",
    "Retry-After is '0.5', not whole seconds from 1 on",
)
def says_half_a_second(tokens, cap):
    places = asyncio.Semaphore(cap)

    async def place():
        if places.locked():
            raise HTTPException(503, "full", {"Retry-After": "0.5"})
        async with places:
            yield

    return app_with(place, tokens)


@wrong(
    "10.1",
    "503 came without Retry-After: say when to come",
)
def says_no_time_to_come(tokens, cap):
    places = asyncio.Semaphore(cap)

    async def place():
        if places.locked():
            raise HTTPException(503, "full")
        async with places:
            yield

    return app_with(place, tokens)


# --- 10.2


async def send_all(socket, tokens, question):
    async for piece in tokens(question):
        await socket.send_text(piece)
    await socket.send_text("[end]")


def app_of(chat):
    app = FastAPI()

    @app.websocket("/chat")
    async def endpoint(socket: WebSocket):
        await socket.accept()
        await chat(socket)

    return app


@right("10.2")
def waits_for_the_old_one(tokens):
    async def chat(socket):
        answering = None
        try:
            async for question in socket.iter_text():
                if answering:
                    answering.cancel()
                    await asyncio.wait([answering])
                answering = asyncio.create_task(
                    send_all(socket, tokens, question)
                )
        finally:
            if answering:
                answering.cancel()

    return app_of(chat)


@right("10.2")
def takes_a_task_group(tokens):
    async def chat(socket):
        async with asyncio.TaskGroup() as group:
            answering = None
            async for question in socket.iter_text():
                if answering:
                    answering.cancel()
                answering = group.create_task(
                    send_all(socket, tokens, question)
                )
            if answering:
                answering.cancel()

    return app_of(chat)


@wrong(
    "10.2",
    "a question that came while an answer was written had to wait for "
    "its end: nobody listened",
)
def answers_one_by_one(tokens):
    async def chat(socket):
        async for question in socket.iter_text():
            await send_all(socket, tokens, question)

    return app_of(chat)


@wrong(
    "10.2",
    "a new question came, and the answer before it was written on",
)
def answers_all_at_once(tokens):
    async def chat(socket):
        tasks = []
        try:
            async for question in socket.iter_text():
                answer = send_all(socket, tokens, question)
                tasks.append(asyncio.create_task(answer))
        finally:
            for task in tasks:
                task.cancel()

    return app_of(chat)


@wrong(
    "10.2",
    "a connection was closed, and its answer was written on",
)
def lets_the_last_one_run(tokens):
    async def chat(socket):
        answering = None
        async for question in socket.iter_text():
            if answering:
                answering.cancel()
            answering = asyncio.create_task(send_all(socket, tokens, question))

    return app_of(chat)


@wrong(
    "10.2",
    "the app closed the connection",
)
def takes_one_question(tokens):
    async def chat(socket):
        question = await socket.receive_text()
        await send_all(socket, tokens, question)

    return app_of(chat)


@wrong(
    "10.2",
    "'soup' got ['A', ' reply', ' to', ' soup'], not ['A', ' reply', ' "
    "to', ' soup', '[end]']",
)
def says_no_end(tokens):
    async def chat(socket):
        answering = None

        async def answer(question):
            async for piece in tokens(question):
                await socket.send_text(piece)

        async for question in socket.iter_text():
            if answering:
                answering.cancel()
            answering = asyncio.create_task(answer(question))

    return app_of(chat)


@wrong(
    "10.2",
    "nothing was streamed: the first piece came with the last one",
)
def sends_it_whole(tokens):
    async def chat(socket):
        async def answer(question):
            for piece in [piece async for piece in tokens(question)]:
                await socket.send_text(piece)
            await socket.send_text("[end]")

        answering = None
        async for question in socket.iter_text():
            if answering:
                answering.cancel()
            answering = asyncio.create_task(answer(question))

    return app_of(chat)


@wrong(
    "10.2",
    "a client asked again, and the answer of another one was cut off",
)
def interrupts_everybody(tokens):
    answering = set()

    async def chat(socket):
        try:
            async for question in socket.iter_text():
                for task in answering:
                    task.cancel()
                answer = send_all(socket, tokens, question)
                answering.add(asyncio.create_task(answer))
        finally:
            for task in answering:
                task.cancel()

    return app_of(chat)


@wrong(
    "10.2",
    "a WebSocket at /chat got status 403",
)
def has_another_path(tokens):
    app = FastAPI()

    @app.websocket("/socket")
    async def endpoint(socket: WebSocket):
        await socket.accept()

    return app


# --- what the first judges did not see


@wrong(
    "10.2",
    "a new question came, and the answer before it was written on",
)
def interrupts_only_what_has_begun(tokens):
    async def chat(socket):
        answering, begun = None, set()

        async def answer(question):
            async for piece in tokens(question):
                begun.add(asyncio.current_task())
                await socket.send_text(piece)
            await socket.send_text("[end]")

        try:
            async for question in socket.iter_text():
                if answering in begun:
                    answering.cancel()
                answering = asyncio.create_task(answer(question))
        finally:
            if answering:
                answering.cancel()

    return app_of(chat)
