"""Answers to the check of lesson 02 and to lab 02."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress

import anyio

from tests.wrong import right, wrong

CLOSED = (
    "Event loop is closed: a second loop got the connections of the first; "
    "one asyncio.run must hold everything"
)


def ask(question):
    return {"messages": [("user", question)]}


async def answer(graph, question):
    state = await graph.ainvoke(ask(question))
    return state["messages"][-1].text


# --- 02.0


@wrong(
    "02.0",
    "`return [slow(table) for table in tables]` blocks the event loop: "
    "nothing else runs meanwhile",
)
async def calls_it_on_the_loop(slow, tables):
    return [slow(table) for table in tables]


@wrong("02.0", "at most 1 of 3 calls ran at once: start all, then wait")
async def awaits_each_thread(slow, tables):
    return [await asyncio.to_thread(slow, table) for table in tables]


@wrong("02.0", "the list holds calls that nobody awaited")
async def forgets_gather(slow, tables):
    return [asyncio.to_thread(slow, table) for table in tables]


@wrong("02.0", "the texts are not those of the tables, in their order")
async def takes_them_as_completed(slow, tables):
    calls = [asyncio.to_thread(slow, table) for table in tables]
    return [await call for call in asyncio.as_completed(calls)]


@wrong("02.0", "it returned None, not a list of texts: is a `return` missing?")
async def forgets_return(slow, tables):
    await asyncio.gather(*[asyncio.to_thread(slow, n) for n in tables])


@wrong("02.0", "a call failed, and its error did not pass on")
async def gathers_the_errors(slow, tables):
    calls = [asyncio.to_thread(slow, table) for table in tables]
    return await asyncio.gather(*calls, return_exceptions=True)


@right("02.0")
async def uses_an_own_pool(slow, tables):
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(len(tables)) as pool:
        calls = [loop.run_in_executor(pool, slow, n) for n in tables]
        return await asyncio.gather(*calls)


@right("02.0")
async def uses_a_task_group(slow, tables):
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(asyncio.to_thread(slow, n)) for n in tables]
    return [task.result() for task in tasks]


# --- 02.1


@wrong("02.1", "`menu = read_menu()` blocks the event loop: no beat meanwhile")
async def changes_nothing(graph, question, read_menu):
    menu = read_menu()
    for chunk, _ in graph.stream(
        ask(f"{menu} {question}"), stream_mode="messages"
    ):
        yield chunk.text
        await asyncio.sleep(0)


STREAM = 'for chunk, _ in graph.stream(order, stream_mode="messages"):'


@wrong("02.1", f"`{STREAM}` blocks the event loop: no beat meanwhile")
async def mends_only_the_menu(graph, question, read_menu):
    order = ask(f"{await asyncio.to_thread(read_menu)} {question}")
    for chunk, _ in graph.stream(order, stream_mode="messages"):
        yield chunk.text


@wrong("02.1", f"`{STREAM}` blocks the event loop: no beat meanwhile")
async def sprinkles_sleep(graph, question, read_menu):
    order = ask(f"{await asyncio.to_thread(read_menu)} {question}")
    await asyncio.sleep(0)
    for chunk, _ in graph.stream(order, stream_mode="messages"):
        await asyncio.sleep(0.01)
        yield chunk.text


@wrong("02.1", "`menu = read_menu()` blocks the event loop: no beat meanwhile")
async def mends_only_the_stream(graph, question, read_menu):
    menu = read_menu()
    async for chunk, _ in graph.astream(
        ask(f"{menu} {question}"), stream_mode="messages"
    ):
        yield chunk.text


@wrong(
    "02.1",
    "it raised TypeError: 'str' object is not callable, at "
    "`menu = await asyncio.to_thread(read_menu())`",
)
async def calls_before_the_thread(graph, question, read_menu):
    menu = await asyncio.to_thread(read_menu())
    async for chunk, _ in graph.astream(
        ask(f"{menu} {question}"), stream_mode="messages"
    ):
        yield chunk.text


@wrong("02.1", "`read_menu` never ran: is an `await` missing?")
async def forgets_await_before_the_thread(graph, question, read_menu):
    menu = asyncio.to_thread(read_menu)
    async for chunk, _ in graph.astream(
        ask(f"{menu} {question}"), stream_mode="messages"
    ):
        yield chunk.text
    menu.close()


FINISHED = (
    "nothing was streamed: the model had finished before the first piece came"
)


@wrong("02.1", FINISHED)
async def lists_the_stream_in_a_thread(graph, question, read_menu):
    order = ask(f"{await asyncio.to_thread(read_menu)} {question}")
    stream = graph.stream(order, stream_mode="messages")
    for chunk, _ in await asyncio.to_thread(list, stream):
        yield chunk.text


@wrong("02.1", FINISHED)
async def awaits_the_whole_reply(graph, question, read_menu):
    menu = await asyncio.to_thread(read_menu)
    yield await answer(graph, f"{menu} {question}")


@wrong("02.1", FINISHED)
async def streams_updates(graph, question, read_menu):
    order = ask(f"{await asyncio.to_thread(read_menu)} {question}")
    async for update in graph.astream(order, stream_mode="updates"):
        yield update["reply"]["messages"][-1].text


@wrong("02.1", "it yielded AIMessageChunk, not a text")
async def yields_chunks(graph, question, read_menu):
    order = ask(f"{await asyncio.to_thread(read_menu)} {question}")
    async for chunk, _ in graph.astream(order, stream_mode="messages"):
        yield chunk


@wrong(
    "02.1",
    "it returned a coroutine, not an async generator: `yield` each piece",
)
async def returns_a_list(graph, question, read_menu):
    order = ask(f"{await asyncio.to_thread(read_menu)} {question}")
    stream = graph.astream(order, stream_mode="messages")
    return [chunk.text async for chunk, _ in stream]


@right("02.1")
async def uses_an_executor(graph, question, read_menu):
    loop = asyncio.get_running_loop()
    menu = await loop.run_in_executor(None, read_menu)
    order = ask(f"{menu} {question}")
    async for part in graph.astream(
        order, stream_mode=["messages"], version="v2"
    ):
        yield part["data"][0].text


@right("02.1")
async def takes_each_piece_in_a_thread(graph, question, read_menu):
    order = ask(f"{await asyncio.to_thread(read_menu)} {question}")
    stream = graph.stream(order, stream_mode="messages")
    while pair := await asyncio.to_thread(next, stream, None):
        yield pair[0].text


@wrong("02.1", "`read_menu` was not called for this order")
async def leaves_the_menu_out(graph, question, read_menu):
    stream = graph.astream(ask(question), stream_mode="messages")
    async for chunk, _ in stream:
        yield chunk.text


MENUS = []


@wrong("02.1", "the model did not get what `read_menu` returned")
async def reads_the_menu_once_for_all(graph, question, read_menu):
    if not MENUS:
        MENUS.append(await asyncio.to_thread(read_menu))
    order = ask(f"{MENUS[0]} {question}")
    async for chunk, _ in graph.astream(order, stream_mode="messages"):
        yield chunk.text
    if question == "What is new?":
        MENUS.clear()


@wrong("02.1", "the model did not get what `read_menu` returned")
async def drops_the_menu(graph, question, read_menu):
    await asyncio.to_thread(read_menu)
    async for chunk, _ in graph.astream(ask(question), stream_mode="messages"):
        yield chunk.text


@wrong("02.1", "the text is right, but not in the pieces of the model")
async def yields_letters(graph, question, read_menu):
    order = ask(f"{await asyncio.to_thread(read_menu)} {question}")
    async for chunk, _ in graph.astream(order, stream_mode="messages"):
        for letter in chunk.text:
            yield letter


@wrong("02.1", "the pieces together are not the reply")
async def strips_each_piece(graph, question, read_menu):
    order = ask(f"{await asyncio.to_thread(read_menu)} {question}")
    async for chunk, _ in graph.astream(order, stream_mode="messages"):
        if chunk.text.strip():
            yield chunk.text.strip()


@right("02.1")
def returns_a_generator(graph, question, read_menu):
    async def pieces():
        menu = await anyio.to_thread.run_sync(read_menu)
        stream = graph.astream(
            ask(f"{menu} {question}"), stream_mode="messages"
        )
        async for chunk, _ in stream:
            yield chunk.content

    return pieces()


# --- 02.2


async def answer_all(graph, batch):
    return await asyncio.gather(*(answer(graph, q) for q in batch))


@wrong("02.2", CLOSED)
def runs_each_batch(graph, batches):
    return [asyncio.run(answer_all(graph, batch)) for batch in batches]


@wrong("02.2", CLOSED)
def runs_each_question(graph, batches):
    return [
        [asyncio.run(answer(graph, question)) for question in batch]
        for batch in batches
    ]


@wrong("02.2", CLOSED)
def makes_a_runner_for_each_batch(graph, batches):
    lists = []
    for batch in batches:
        with asyncio.Runner() as runner:
            lists.append(runner.run(answer_all(graph, batch)))
    return lists


@wrong("02.2", CLOSED)
def sends_each_batch_to_a_thread(graph, batches):
    lists = []
    for batch in batches:
        with ThreadPoolExecutor(1) as pool:
            run = pool.submit(asyncio.run, answer_all(graph, batch))
            lists.append(run.result())
    return lists


@wrong("02.2", "the node is async: only `ainvoke` in a loop can run it")
def goes_back_to_sync(graph, batches):
    return [
        [graph.invoke(ask(q))["messages"][-1].text for q in batch]
        for batch in batches
    ]


@wrong("02.2", "a script cannot await: `main` is a plain `def`")
async def stays_async(graph, batches):
    return [await answer_all(graph, batch) for batch in batches]


@wrong(
    "02.2",
    "it raised RuntimeError: asyncio.run() cannot be called from a running "
    "event loop, at `return [asyncio.run(answer_all(graph, b)) for b in "
    "batches]`",
)
def runs_inside_a_run(graph, batches):
    async def service():
        return [asyncio.run(answer_all(graph, b)) for b in batches]

    return asyncio.run(service())


@wrong(
    "02.2",
    "the calls ran one after another: at most 1 request was in flight",
)
def awaits_one_by_one(graph, batches):
    async def service():
        return [[await answer(graph, q) for q in b] for b in batches]

    return asyncio.run(service())


@wrong(
    "02.2",
    "6 requests were in flight: the second batch did not wait for the first",
)
def starts_everything_at_once(graph, batches):
    async def service():
        return await asyncio.gather(*(answer_all(graph, b) for b in batches))

    return asyncio.run(service())


@wrong("02.2", "it returned None, not a list of lists: is a `return` missing?")
def prints_the_lists(graph, batches):
    async def service():
        return [await answer_all(graph, batch) for batch in batches]

    print(asyncio.run(service()))


@wrong("02.2", "it returned no list of 2 lists")
def returns_one_flat_list(graph, batches):
    async def service():
        lists = [await answer_all(graph, batch) for batch in batches]
        return [text for texts in lists for text in texts]

    return asyncio.run(service())


@wrong("02.2", "a batch came back as None: is a `return` missing?")
def has_not_done_task_1(graph, batches):
    async def answer_all(graph, batch):
        pass

    async def service():
        return [await answer_all(graph, batch) for batch in batches]

    return asyncio.run(service())


@wrong("02.2", "the list holds calls that nobody awaited")
def does_not_await_the_batches(graph, batches):
    async def answer_all(graph, batch):
        return await graph.abatch(batch)

    async def service():
        return [answer_all(graph, batch) for batch in batches]

    return asyncio.run(service())


@right("02.2")
def uses_one_runner(graph, batches):
    with asyncio.Runner() as runner:
        return [runner.run(answer_all(graph, batch)) for batch in batches]


@right("02.2")
def uses_one_loop(graph, batches):
    loop = asyncio.new_event_loop()
    try:
        return [
            loop.run_until_complete(answer_all(graph, batch))
            for batch in batches
        ]
    finally:
        loop.close()


@right("02.2")
def uses_anyio(graph, batches):
    async def service():
        return [await answer_all(graph, batch) for batch in batches]

    return anyio.run(service)


@wrong("02.2", "a batch of 3 had at most 2 requests in flight")
def keeps_a_semaphore(graph, batches):
    async def service():
        turn = asyncio.Semaphore(2)

        async def one(question):
            async with turn:
                return await answer(graph, question)

        return [await asyncio.gather(*map(one, batch)) for batch in batches]

    return asyncio.run(service())


@wrong("02.2", "it returned no list of 3 lists")
def knows_two_batches(graph, batches):
    async def service():
        return [await answer_all(graph, batch) for batch in batches[:2]]

    return asyncio.run(service())


# --- 02.3


@wrong("02.3", "`dine` never began: it waits for the end of `play`")
async def awaits_the_band(play, dine):
    await play()
    return await dine()


@wrong(
    "02.3",
    "it did not return after `dine` had ended: `play` goes on until it is "
    "cancelled",
)
async def gathers_both(play, dine):
    _, dinner = await asyncio.gather(play(), dine())
    return dinner


@wrong("02.3", "the band did not play while `dine` went on")
async def dines_first(play, dine):
    dinner = await dine()
    music = asyncio.create_task(play())
    await asyncio.sleep(0)
    music.cancel()
    await asyncio.wait([music])
    return dinner


@wrong("02.3", "after a return, the band still played")
async def forgets_to_cancel(play, dine):
    music = asyncio.create_task(play())
    dinner = await dine()
    assert not music.done()
    return dinner


@wrong(
    "02.3",
    "after a return, it did not wait until the band had packed up: "
    "`cancel()` only asks",
)
async def only_asks(play, dine):
    music = asyncio.create_task(play())
    try:
        return await dine()
    finally:
        music.cancel()


@wrong("02.3", "after an error in `dine`, the band still played")
async def has_no_finally(play, dine):
    music = asyncio.create_task(play())
    dinner = await dine()
    music.cancel()
    await asyncio.wait([music])
    return dinner


@wrong("02.3", "after a cancel, the band still played")
async def thinks_of_errors_only(play, dine):
    music = asyncio.create_task(play())
    try:
        dinner = await dine()
    except Exception:
        music.cancel()
        await asyncio.wait([music])
        raise
    music.cancel()
    await asyncio.wait([music])
    return dinner


@wrong("02.3", "it raised CancelledError, at `await music`")
async def awaits_the_cancelled_band(play, dine):
    music = asyncio.create_task(play())
    try:
        return await dine()
    finally:
        music.cancel()
        await music


@wrong("02.3", "the error of `dine` did not pass on")
async def swallows_the_error(play, dine):
    music = asyncio.create_task(play())
    dinner = None
    with suppress(Exception):
        dinner = await dine()
    music.cancel()
    await asyncio.wait([music])
    return dinner


@wrong("02.3", "it was cancelled, and the CancelledError did not pass on")
async def swallows_the_cancel(play, dine):
    music = asyncio.create_task(play())
    try:
        return await dine()
    except asyncio.CancelledError:
        return None
    finally:
        music.cancel()
        await asyncio.wait([music])


BANDS = []


@wrong("02.3", "with two at once, the end of one ended both")
async def stops_every_band(play, dine):
    music = asyncio.create_task(play())
    BANDS.append(music)
    try:
        return await dine()
    finally:
        bands = BANDS.copy()
        BANDS.clear()
        for band in bands:
            band.cancel()
        await asyncio.wait([*bands, music])


@wrong("02.3", "it returned True, not what `dine` returned")
async def returns_something_else(play, dine):
    music = asyncio.create_task(play())
    try:
        await dine()
        return True
    finally:
        music.cancel()
        await asyncio.wait([music])


@right("02.3")
async def takes_a_group_for_it(play, dine):
    async with asyncio.TaskGroup() as group:
        music = group.create_task(play())
        dinner = await dine()
        music.cancel()
    return dinner


@right("02.3")
async def gathers_the_cancelled_band(play, dine):
    music = asyncio.ensure_future(play())
    try:
        dinner = await dine()
    finally:
        music.cancel()
        await asyncio.gather(music, return_exceptions=True)
    return dinner


@right("02.3")
async def makes_a_context_manager(play, dine):
    @asynccontextmanager
    async def beside(coroutine):
        task = asyncio.create_task(coroutine)
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async with beside(play()):
        return await dine()


@wrong(
    "02.3",
    "after a return, the band was cancelled again while it packed up: its "
    "`finally` was cut off",
)
async def lets_anyio_do_it(play, dine):
    async with anyio.create_task_group() as group:
        group.start_soon(play)
        dinner = await dine()
        group.cancel_scope.cancel()
    return dinner
