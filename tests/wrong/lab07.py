"""Wrong answers to the check of lesson 07 and to lab 07."""

# People do call `time.sleep` in async functions.
# ruff: noqa: ASYNC251

import asyncio
import time

import openai
from fastapi import HTTPException, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, StreamingResponse

from tests.wrong import right, wrong


def ask(message):
    return {"messages": [("user", message)]}


def tokens(agent, message):
    return agent.astream(ask(message), stream_mode="messages")


# --- 07.0


@wrong(
    "07.0",
    '`return agent.invoke(ask(message))["messages"][-1].text` blocks '
    "the event loop",
)
async def invokes_in_async_def(agent, message):
    return agent.invoke(ask(message))["messages"][-1].text


@wrong(
    "07.0",
    "at most 6 of 70 users got to the model at once: no thread for "
    "each, and no turns",
)
async def takes_a_thread(agent, message):
    state = await asyncio.to_thread(agent.invoke, ask(message))
    return state["messages"][-1].text


@wrong(
    "07.0",
    "it returned an AIMessage, not the text of the answer",
)
async def returns_the_message(agent, message):
    state = await agent.ainvoke(ask(message))
    return state["messages"][-1]


@wrong("07.0", "'user 0\\n' got 'user 0\\n', not 'A reply to user 0\\n'")
async def returns_the_question(agent, message):
    state = await agent.ainvoke(ask(message))
    return state["messages"][0].text


@right("07.0")
async def joins_the_stream(agent, message):
    text = ""
    async for part, _ in tokens(agent, message):
        text += part.text
    return text


# --- 07.1


@wrong(
    "07.1",
    "`for msg, _ in agent.stream(ask(message), "
    'stream_mode="messages"):` blocks the event loop',
)
async def keeps_the_sync_stream(agent, table_of, message, guest):
    yield f"Table {await asyncio.to_thread(table_of, guest)}: "
    for msg, _ in agent.stream(ask(message), stream_mode="messages"):
        yield msg.text


@wrong(
    "07.1",
    "`table_of` ran on the event loop, where everybody waits for it: "
    "give it to a thread",
)
async def keeps_the_sync_library(agent, table_of, message, guest):
    yield f"Table {table_of(guest)}: "
    async for msg, _ in tokens(agent, message):
        yield msg.text


@wrong(
    "07.1",
    "nothing was streamed: the model had finished before the first word came",
)
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


@wrong(
    "07.1",
    "the guests wait for each other's table: `table_of` was asked for "
    "one at a time",
)
async def takes_turns_at_the_table(agent, table_of, message, guest):
    async with ONE:
        table = await asyncio.to_thread(table_of, guest)
    yield f"Table {table}: "
    async for msg, _ in tokens(agent, message):
        yield msg.text


@wrong(
    "07.1",
    "at most 5 of 20 guests got to the model at once",
)
async def lets_five_in(agent, table_of, message, guest):
    async with FIVE:
        yield f"Table {await asyncio.to_thread(table_of, guest)}: "
        async for msg, _ in tokens(agent, message):
            yield msg.text


TABLES = {}


@wrong(
    "07.1",
    "`table_of` was asked 0 times for one visit of Ada: ask it once, "
    "each time a guest comes",
)
async def remembers_tables(agent, table_of, message, guest):
    if guest not in TABLES:
        TABLES[guest] = await asyncio.to_thread(table_of, guest)
    yield f"Table {TABLES[guest]}: "
    async for msg, _ in tokens(agent, message):
        yield msg.text


WHO = [""]


@wrong(
    "07.1",
    "when many came at once, one got the table of another one",
)
async def mixes_guests_up(agent, table_of, message, guest):
    WHO[0] = guest
    await asyncio.sleep(0.01)
    yield f"Table {await asyncio.to_thread(table_of, WHO[0])}: "
    async for msg, _ in tokens(agent, message):
        yield msg.text


@wrong(
    "07.1",
    "Ada got 'A reply to HiTable 301: ', not 'Table 301: A reply to Hi'",
)
async def seats_them_afterwards(agent, table_of, message, guest):
    async for msg, _ in tokens(agent, message):
        yield msg.text
    yield f"Table {await asyncio.to_thread(table_of, guest)}: "


@wrong(
    "07.1",
    "it returned a coroutine, not a generator: `yield` the parts",
)
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
    async for part in agent.astream(
        ask(message), stream_mode="messages", version="v2"
    ):
        yield part["data"][0].text


@right("07.1")
class GreetsAsAnIterator:
    """What `yield` would make, written by hand."""

    def __init__(self, agent, table_of, message, guest):
        self.parts = uses_the_pool_of_starlette(
            agent, table_of, message, guest
        )

    def __aiter__(self):
        return self

    async def __anext__(self):
        return await anext(self.parts)


# --- 07.2


async def joined(first, parts):
    yield first
    async for part in parts:
        yield part


@wrong(
    "07.2",
    "no connection got status 200: take the first part before you "
    "return the response",
)
async def streams_at_once(parts):
    return StreamingResponse(parts)


@wrong(
    "07.2",
    "no connection got status 200: take the first part before you "
    "return the response",
)
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


@wrong(
    "07.2",
    "a rate limit got status 502, not 429",
)
async def asks_for_any_error_first(parts):
    try:
        first = await anext(parts)
    except openai.APIError:
        raise HTTPException(502) from None
    except openai.RateLimitError:
        raise HTTPException(429) from None
    return StreamingResponse(joined(first, parts))


@wrong(
    "07.2",
    "a rate limit of LangChain got status 502, not 429: LangChain "
    "raises a subclass of `openai.RateLimitError`, so ask with `except` "
    "or `isinstance`",
)
async def looks_the_type_up(parts):
    try:
        first = await anext(parts)
    except openai.APIError as error:
        status = {openai.RateLimitError: 429}.get(type(error), 502)
        raise HTTPException(status) from None
    return StreamingResponse(joined(first, parts))


@wrong(
    "07.2",
    "a KeyError got status 502: it is no `openai.APIError`, so leave it alone",
)
async def catches_everything(parts):
    try:
        first = await anext(parts)
    except openai.RateLimitError:
        raise HTTPException(429) from None
    except Exception:
        raise HTTPException(502) from None
    return StreamingResponse(joined(first, parts))


@wrong(
    "07.2",
    "no connection got status 500: nothing caught APIConnectionError",
)
async def catches_answers_only(parts):
    try:
        first = await anext(parts)
    except openai.RateLimitError:
        raise HTTPException(429) from None
    except openai.APIStatusError:
        raise HTTPException(502) from None
    return StreamingResponse(joined(first, parts))


@wrong(
    "07.2",
    "no connection was returned as a JSONResponse: raise an HTTPException",
)
async def returns_the_refusal(parts):
    try:
        first = await anext(parts)
    except openai.RateLimitError:
        return JSONResponse({"detail": "busy"}, 429)
    except openai.APIError:
        return JSONResponse({"detail": "failed"}, 502)
    return StreamingResponse(joined(first, parts))


@wrong(
    "07.2",
    "nothing was streamed: it took all parts before it returned",
)
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
    "the client got ' for two', not 'Tea for two'",
)
async def loses_the_first(parts):
    try:
        await anext(parts)
    except openai.RateLimitError:
        raise HTTPException(429) from None
    except openai.APIError:
        raise HTTPException(502) from None
    return StreamingResponse(parts)


@wrong(
    "07.2",
    "no connection came after 2 parts, and the client took it for the "
    "whole answer",
)
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


@wrong(
    "07.2",
    "it returned an async generator, not a StreamingResponse",
)
async def returns_the_parts(parts):
    return joined(await anext(parts), parts)


@right("07.2")
async def asks_in_a_task(parts):
    asking = asyncio.create_task(anext(parts, ""))
    await asyncio.wait([asking])
    match asking.exception():
        case openai.RateLimitError():
            raise HTTPException(429)
        case openai.APIError():
            raise HTTPException(502)
    return StreamingResponse(joined(asking.result(), parts))
