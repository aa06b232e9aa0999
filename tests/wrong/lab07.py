"""Wrong answers, and right ones, to lesson 07 and lab 07."""

from tests.wrong import changed, right

changed(
    "07.0",
    r"""
    `state = agent.invoke(question)` blocks the event loop
    - state = await agent.ainvoke(question)
    + state = agent.invoke(question)

    at most 2 of 70 users were at the model
    - state = await agent.ainvoke(question)
    + import asyncio
    + state = await asyncio.to_thread(agent.invoke, question)

    each user held a thread
    - state = await agent.ainvoke(question)
    + import asyncio
    + from concurrent.futures import ThreadPoolExecutor
    + pool = globals().setdefault("pool", ThreadPoolExecutor(80))
    + loop = asyncio.get_running_loop()
    + state = await loop.run_in_executor(pool, agent.invoke, question)

    it returned an AIMessage, not the text of the answer
    - return state["messages"][-1].text
    + return state["messages"][-1]

    'user 0\n' got 'user 0\n', not 'A reply to user 0\n'
    - return state["messages"][-1].text
    + return state["messages"][0].text

    ✅
    - state = await agent.ainvoke(question)
    - return state["messages"][-1].text
    + text = ""
    + async for part, _ in agent.astream(question, stream_mode="messages"):
    +     text += part.text
    + return text
    """,
)

changed(
    "07.1",
    """
    `for part in agent.stream(question, stream_mode="messages", version="v2"):`
    blocks the event loop
    - async for part in agent.astream(
    -     question, stream_mode="messages", version="v2"
    - ):
    + for part in agent.stream(question, stream_mode="messages", version="v2"):

    `table_of` ran on the event loop: take a thread
    - table = await asyncio.to_thread(table_of, guest)
    + table = table_of(guest)

    nothing was streamed: it came when the model had finished
    - async for part in agent.astream(
    -     question, stream_mode="messages", version="v2"
    - ):
    -     said, _ = part["data"]
    -     yield said.text
    + state = await agent.ainvoke(question)
    + yield state["messages"][-1].text

    guests wait for each other: everybody waits at `time.sleep(0.5)`
    - table = await asyncio.to_thread(table_of, guest)
    + time.sleep(0.5)
    + table = await asyncio.to_thread(table_of, guest)

    `table_of` was asked for one guest at a time
    - table = await asyncio.to_thread(table_of, guest)
    + one = globals().setdefault("one", asyncio.Lock())
    + async with one:
    +     table = await asyncio.to_thread(table_of, guest)

    at most 5 of 20 were at the model at once
    - async for part in agent.astream(
    -     question, stream_mode="messages", version="v2"
    - ):
    -     said, _ = part["data"]
    -     yield said.text
    + five = globals().setdefault("five", asyncio.Semaphore(5))
    + async with five:
    +     async for said, _ in agent.astream(question, stream_mode="messages"):
    +         yield said.text

    `table_of` was asked 0 times for one visit of Ada: ask it once, each time a
    guest comes
    - table = await asyncio.to_thread(table_of, guest)
    + tables = globals().setdefault("tables", {})
    + if guest not in tables:
    +     tables[guest] = await asyncio.to_thread(table_of, guest)
    + table = tables[guest]

    when many came at once, one got the table of another one
    - table = await asyncio.to_thread(table_of, guest)
    + global who
    + who = guest
    + await asyncio.sleep(0.01)
    + table = await asyncio.to_thread(table_of, who)

    Ada got 'A reply to HiTable 301: ', not 'Table 301: A reply to Hi'
    - yield f"Table {table}: "
    @@
          yield said.text
    + yield f"Table {table}: "

    it returned a coroutine, not a generator: `yield` the parts
    - yield f"Table {table}: "
    @@
    - yield said.text
    + print(said.text)
    """,
)


@right("07.1")
def is_a_plain_generator(agent, table_of, message, guest):
    yield f"Table {table_of(guest)}: "
    question = {"messages": [("user", message)]}
    for said, _ in agent.stream(question, stream_mode="messages"):
        yield said.text


changed(
    "07.1",
    """
    ✅
    - table = await asyncio.to_thread(table_of, guest)
    + from fastapi.concurrency import run_in_threadpool
    + table = await run_in_threadpool(table_of, guest)

    ✅
    - async def greet(agent, table_of, message, guest):
    + class greet:
    +     def __init__(self, *given):
    +         self.parts = parts_of(*given)
    +     def __aiter__(self):
    +         return self
    +     def __anext__(self):
    +         return anext(self.parts)
    + async def parts_of(agent, table_of, message, guest):
    """,
)

changed(
    "07.2",
    """
    no connection got status 200: take the first part before you return the
    response
    - try:
    -     first = await anext(parts, "")
    + first = ""
    + try:
    +     pass

    a rate limit got status 502, not 429
    - raise HTTPException(429, "the model is busy") from error
    + raise HTTPException(502, "the model is busy") from error

    a rate limit of LangChain got status 502, not 429: LangChain raises a
    subclass of `openai.RateLimitError`, so ask with `except` or `isinstance`
    - except openai.RateLimitError as error:
    -     raise HTTPException(429, "the model is busy") from error
    - except openai.APIError as error:
    -     raise HTTPException(502, "the model failed") from error
    + except openai.APIError as error:
    +     status = {openai.RateLimitError: 429}.get(type(error), 502)
    +     raise HTTPException(status) from None

    a KeyError got status 502: it is no `openai.APIError`, so leave it alone
    - except openai.APIError as error:
    + except Exception as error:

    no connection got status 500: nothing caught APIConnectionError
    - except openai.APIError as error:
    + except openai.APIStatusError as error:

    no connection was returned: raise an HTTPException
    - raise HTTPException(502, "the model failed") from error
    + from fastapi.responses import JSONResponse
    + return JSONResponse({"detail": "failed"}, 502)

    nothing was streamed: it came when the model had finished
    - first = await anext(parts, "")
    + first = "".join([part async for part in parts])

    the client got ' for two', not 'Tea for two'
    - yield first
    + yield ""

    no connection came after 2 parts, and the client took it for the whole
    answer
    - async for part in parts:
    -     yield part
    + try:
    +     async for part in parts:
    +         yield part
    + except openai.APIError:
    +     pass

    it returned an async generator, not a StreamingResponse
    - return StreamingResponse(all_parts())
    + return all_parts()

    ✅
    - try:
    -     first = await anext(parts, "")
    - except openai.RateLimitError as error:
    -     raise HTTPException(429, "the model is busy") from error
    - except openai.APIError as error:
    -     raise HTTPException(502, "the model failed") from error
    + asking = asyncio.create_task(anext(parts, ""))
    + await asyncio.wait([asking])
    + match asking.exception():
    +     case openai.RateLimitError():
    +         raise HTTPException(429)
    +     case openai.APIError():
    +         raise HTTPException(502)
    + first = asking.result()
    """,
)
