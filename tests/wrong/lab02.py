"""Answers to the check of lesson 02 and to lab 02."""

from tests.wrong import changed

changed(
    "02.0",
    """
    `calls = [slow(table) for table in tables]` blocks the event loop: nothing
    else runs meanwhile
    - calls = [asyncio.to_thread(slow, table) for table in tables]
    - return await asyncio.gather(*calls)
    + calls = [slow(table) for table in tables]
    + return calls

    at most 1 of 3 calls ran at once: start all, then wait
    - return await asyncio.gather(*calls)
    + return [await call for call in calls]

    the list holds calls that nobody awaited
    - return await asyncio.gather(*calls)
    + return calls

    the texts are not those of the tables, in their order
    - return await asyncio.gather(*calls)
    + return [await call for call in asyncio.as_completed(calls)]

    it returned None, not a list of texts: is a `return` missing?
    - return await asyncio.gather(*calls)
    + await asyncio.gather(*calls)

    the error of a table was swallowed: let it out
    - return await asyncio.gather(*calls)
    + return await asyncio.gather(*calls, return_exceptions=True)

    ✅
    - calls = [asyncio.to_thread(slow, table) for table in tables]
    - return await asyncio.gather(*calls)
    + from concurrent.futures import ThreadPoolExecutor
    + loop = asyncio.get_running_loop()
    + with ThreadPoolExecutor(len(tables)) as pool:
    +     calls = [loop.run_in_executor(pool, slow, n) for n in tables]
    +     return await asyncio.gather(*calls)

    ✅
    - return await asyncio.gather(*calls)
    + async with asyncio.TaskGroup() as group:
    +     tasks = [group.create_task(call) for call in calls]
    + return [task.result() for task in tasks]
    """,
)

changed(
    "02.1",
    r"""
    `menu = read_menu()` blocks the event loop: no beat meanwhile
    - menu = await asyncio.to_thread(read_menu)
    + menu = read_menu()

    `for chunk, _ in graph.stream(asked, stream_mode="messages"):` blocks the
    event loop: no beat meanwhile
    - async for chunk, _ in graph.astream(asked, stream_mode="messages"):
    + for chunk, _ in graph.stream(asked, stream_mode="messages"):
    +     await asyncio.sleep(0.01)

    it raised TypeError: 'str' object is not callable, at `menu = await
    asyncio.to_thread(read_menu())`
    - menu = await asyncio.to_thread(read_menu)
    + menu = await asyncio.to_thread(read_menu())

    `read_menu` never ran: is an `await` missing?
    - menu = await asyncio.to_thread(read_menu)
    + menu = asyncio.to_thread(read_menu)

    nothing was streamed: it came when the model had finished
    - async for chunk, _ in graph.astream(asked, stream_mode="messages"):
    + stream = graph.stream(asked, stream_mode="messages")
    + for chunk, _ in await asyncio.to_thread(list, stream):

    nothing was streamed: it came when the model had finished
    - async for chunk, _ in graph.astream(asked, stream_mode="messages"):
    -     yield chunk.text
    + async for update in graph.astream(asked, stream_mode="updates"):
    +     yield update["reply"]["messages"][-1].text

    it yielded AIMessageChunk, not a text
    - yield chunk.text
    + yield chunk

    it returned a coroutine, not an async generator: `yield` each piece
    - async for chunk, _ in graph.astream(asked, stream_mode="messages"):
    -     yield chunk.text
    + stream = graph.astream(asked, stream_mode="messages")
    + return [chunk.text async for chunk, _ in stream]

    `read_menu` was not called for this order
    - menu = await asyncio.to_thread(read_menu)
    - asked = order(f"{menu} {question}")
    + asked = order(f"{question}")

    the model did not get what `read_menu` returned
    - asked = order(f"{menu} {question}")
    + menus = globals().setdefault("menus", [menu])
    + asked = order(f"{menus[0]} {question}")

    the model did not get what `read_menu` returned
    - asked = order(f"{menu} {question}")
    + asked = order(question)

    the text is right, but not in the model's pieces
    - yield chunk.text
    + for letter in chunk.text:
    +     yield letter

    the pieces together are not the reply
    - yield chunk.text
    + yield chunk.text.strip()

    a bug in a node was swallowed: let it out
    - async for chunk, _ in graph.astream(asked, stream_mode="messages"):
    -     yield chunk.text
    + try:
    +     async for chunk, _ in graph.astream(asked, stream_mode="messages"):
    +         yield chunk.text
    + except Exception:
    +     return

    a piece came late: only when the next one was there
    - async for chunk, _ in graph.astream(asked, stream_mode="messages"):
    -     yield chunk.text
    + held = ""
    + async for chunk, _ in graph.astream(asked, stream_mode="messages"):
    +     yield held
    +     held = chunk.text
    + yield held

    ✅
    - menu = await asyncio.to_thread(read_menu)
    + loop = asyncio.get_running_loop()
    + menu = await loop.run_in_executor(None, read_menu)
    @@
    - async for chunk, _ in graph.astream(asked, stream_mode="messages"):
    -     yield chunk.text
    + async for part in graph.astream(
    +     asked, stream_mode=["messages"], version="v2"
    + ):
    +     yield part["data"][0].text

    ✅
    - async for chunk, _ in graph.astream(asked, stream_mode="messages"):
    -     yield chunk.text
    + stream = graph.stream(asked, stream_mode="messages")
    + while pair := await asyncio.to_thread(next, stream, None):
    +     yield pair[0].text

    ✅
    - async def serve_gently(graph, question, read_menu):
    + def serve_gently(graph, question, read_menu):
    +     return pieces(graph, question, read_menu)
    + async def pieces(graph, question, read_menu):
    """,
)

changed(
    "02.2",
    """
    Event loop is closed: a second loop got the connections of the first; one
    asyncio.run must hold everything
    - return asyncio.run(service())
    + return [asyncio.run(answer_all(graph, batch)) for batch in batches]

    Event loop is closed: a second loop got the connections of the first; one
    asyncio.run must hold everything
    - return asyncio.run(service())
    + from concurrent.futures import ThreadPoolExecutor
    + lists = []
    + for batch in batches:
    +     with ThreadPoolExecutor(1) as pool:
    +         run = pool.submit(asyncio.run, answer_all(graph, batch))
    +         lists.append(run.result())
    + return lists

    the node is async: only `ainvoke` in a loop can run it
    - return asyncio.run(service())
    + return [
    +     [graph.invoke(order(text))["messages"][-1].text for text in batch]
    +     for batch in batches
    + ]

    a script cannot await: `main` is a plain `def`
    - def main(graph, batches):
    + async def main(graph, batches):
    @@
    - return asyncio.run(service())
    + return await service()

    it raised RuntimeError: asyncio.run() cannot be called from a running event
    loop, at `return [asyncio.run(answer_all(graph, b)) for b in batches]`
    - return [await answer_all(graph, batch) for batch in batches]
    + return [asyncio.run(answer_all(graph, b)) for b in batches]

    a batch of 3 had at most 1 request in flight
    - return [await answer_all(graph, batch) for batch in batches]
    + return [
    +     [(await answer_all(graph, [text]))[0] for text in batch]
    +     for batch in batches
    + ]

    6 requests were in flight: the second batch did not wait for the first
    - return [await answer_all(graph, batch) for batch in batches]
    + return await asyncio.gather(*(answer_all(graph, b) for b in batches))

    it returned None, not a list of lists: is a `return` missing?
    - return asyncio.run(service())
    + print(asyncio.run(service()))

    it returned no list of 2 lists
    - return asyncio.run(service())
    + return [text for texts in asyncio.run(service()) for text in texts]

    it returned None, not a list of texts: is a `return` missing?
    - return [await answer_all(graph, batch) for batch in batches]
    + return [print(await answer_all(graph, batch)) for batch in batches]

    the list holds calls that nobody awaited
    - return [await answer_all(graph, batch) for batch in batches]
    + return [answer_all(graph, batch) for batch in batches]

    a batch of 3 had at most 2 requests in flight
    - return [await answer_all(graph, batch) for batch in batches]
    + turn = asyncio.Semaphore(2)
    + async def one(text):
    +     async with turn:
    +         return (await answer_all(graph, [text]))[0]
    + return [await asyncio.gather(*map(one, batch)) for batch in batches]

    it returned no list of 3 lists
    - return [await answer_all(graph, batch) for batch in batches]
    + return [await answer_all(graph, batch) for batch in batches[:2]]

    ✅
    - return asyncio.run(service())
    + with asyncio.Runner() as runner:
    +     return [runner.run(answer_all(graph, batch)) for batch in batches]

    ✅
    - return asyncio.run(service())
    + loop = asyncio.new_event_loop()
    + try:
    +     return loop.run_until_complete(service())
    + finally:
    +     loop.close()

    ✅
    - return asyncio.run(service())
    + import anyio
    + return anyio.run(service)
    """,
)

changed(
    "02.3",
    """
    `dine` never began: it waits for the end of `play`
    - music = asyncio.create_task(play())
    + music = asyncio.create_task(play())
    + await music

    it did not return after `dine` had ended: `play` goes on until it is
    cancelled
    - return await dine()
    + return (await asyncio.gather(music, dine()))[1]

    the band did not play while `dine` went on
    - music = asyncio.create_task(play())
    - try:
    -     return await dine()
    - finally:
    -     music.cancel()
    -     await asyncio.wait([music])
    + dinner = await dine()
    + music = asyncio.create_task(play())
    + await asyncio.sleep(0)
    + music.cancel()
    + await asyncio.wait([music])
    + return dinner

    after a return, the band still played
    - music.cancel()
    - await asyncio.wait([music])
    + pass

    after a return, it did not wait until the band had packed up: `cancel()`
    only asks
    - await asyncio.wait([music])

    after an error in `dine`, the band still played
    - try:
    -     return await dine()
    - finally:
    -     music.cancel()
    -     await asyncio.wait([music])
    + dinner = await dine()
    + music.cancel()
    + await asyncio.wait([music])
    + return dinner

    after a cancel, the band still played
      try:
    -     return await dine()
    - finally:
    +     dinner = await dine()
    + except Exception:
          music.cancel()
          await asyncio.wait([music])
    +     raise
    + music.cancel()
    + await asyncio.wait([music])
    + return dinner

    it raised CancelledError, at `await music`
    - await asyncio.wait([music])
    + await music

    the error of `dine` did not pass on
      try:
          return await dine()
    + except Exception:
    +     return None
      finally:

    it was cancelled, and the CancelledError did not pass on
      try:
          return await dine()
    + except asyncio.CancelledError:
    +     return None
      finally:

    with two at once, the end of one ended both
    - music.cancel()
    - await asyncio.wait([music])
    + while bands:
    +     bands.pop().cancel()
    + await asyncio.wait([music])
    @@
    - music = asyncio.create_task(play())
    + music = asyncio.create_task(play())
    + bands = globals().setdefault("bands", [])
    + bands.append(music)

    it returned True, not what `dine` returned
    - return await dine()
    + await dine()
    + return True

    after a return, the band was cancelled again while it packed up: its
    `finally` was cut off
    - music = asyncio.create_task(play())
    - try:
    -     return await dine()
    - finally:
    -     music.cancel()
    -     await asyncio.wait([music])
    + import anyio
    + async with anyio.create_task_group() as group:
    +     group.start_soon(play)
    +     dinner = await dine()
    +     group.cancel_scope.cancel()
    + return dinner

    it raised TimeoutError, at `return await asyncio.wait_for(dine(), 9)`
    - return await dine()
    + return await asyncio.wait_for(dine(), 9)

    `play` and `dine` are called once each
      try:
          return await dine()
    + except Exception:
    +     return await dine()
      finally:

    ✅
    - music = asyncio.create_task(play())
    - try:
    -     return await dine()
    - finally:
    -     music.cancel()
    -     await asyncio.wait([music])
    + async with asyncio.TaskGroup() as group:
    +     music = group.create_task(play())
    +     dinner = await dine()
    +     music.cancel()
    + return dinner

    ✅
    - await asyncio.wait([music])
    + await asyncio.gather(music, return_exceptions=True)

    ✅
    - await asyncio.wait([music])
    + try:
    +     await music
    + except asyncio.CancelledError:
    +     pass
    """,
)
