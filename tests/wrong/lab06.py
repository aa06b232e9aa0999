"""Wrong answers, and right ones, to lesson 06 and lab 06."""

from tests.wrong import changed

changed(
    "06.0",
    r"""
    the screen says 'The soup isThe soup!': what was begun again stands twice
    - return texts[message_id]
    + return "".join(texts.values())

    the screen says '', the newest message is 'The soup'
    - return texts[message_id]
    + return text

    the screen says 'The soup is', the newest message is 'The soup!'
    - return texts[message_id]
    + return next(iter(texts.values()))

    the screen says 'The soup is', the newest message is 'The soup!'
    - return texts[message_id]
    + return max(texts.values(), key=len)

    the screen says 'no0\n', the newest message is 'nono0\n'
    - for message_id, text in pieces:
    + for message_id, text in dict.fromkeys(pieces):

    it returned a dict, not a text
    - return texts[message_id]
    + return texts

    ✅
    - texts = {}
    - for message_id, text in pieces:
    -     texts[message_id] = texts.get(message_id, "") + text
    - return texts[message_id]
    + newest, text = None, ""
    + for message_id, piece in pieces:
    +     text = piece if message_id != newest else text + piece
    +     newest = message_id
    + return text
    """,
)

changed(
    "06.1",
    """
    the TimeoutError came out, and the text was lost: catch it around the
    `async with`
    - except TimeoutError:
    + except ValueError:

    of 3 tokens that came it kept ''
    - async for part in stream:
    -     message, _ = part["data"]
    -     text += message.text
    + texts = [part["data"][0].text async for part in stream]
    + text = "".join(texts)

    the whole answer came: the limit is for all of it, not for each token or
    node
    -     async with asyncio.timeout(seconds):
    -         async for part in stream:
    -             message, _ = part["data"]
    -             text += message.text
    - except TimeoutError:
    +     while True:
    +         part = await asyncio.wait_for(anext(stream), seconds)
    +         text += part["data"][0].text
    + except (TimeoutError, StopAsyncIteration):

    it waits as long as a stalled model does: the clock is read only when a
    token comes
    - async with asyncio.timeout(seconds):
    -     async for part in stream:
    -         message, _ = part["data"]
    -         text += message.text
    + end = asyncio.get_running_loop().time() + seconds
    + async for part in stream:
    +     text += part["data"][0].text
    +     if asyncio.get_running_loop().time() > end:
    +         break

    it returned, but the model wrote on to the end
    - try:
    -     async with asyncio.timeout(seconds):
    -         async for part in stream:
    -             message, _ = part["data"]
    -             text += message.text
    - except TimeoutError:
    -     pass
    + async def read():
    +     nonlocal text
    +     async for part in stream:
    +         text += part["data"][0].text
    + await asyncio.wait([asyncio.create_task(read())], timeout=seconds)

    it swallowed the cancel of somebody else: catch `TimeoutError`, not
    `CancelledError`
    - except TimeoutError:
    + except (TimeoutError, asyncio.CancelledError):

    with time enough it returned only 'Yes.'
    - text += message.text
    + text += message.text
    + if text.endswith("."):
    +     break

    it returned a list, not the text
    - return text
    + return [text]

    it ended before its limit: `seconds` is ignored
    - async with asyncio.timeout(seconds):
    + async with asyncio.timeout(0.5):

    it ended long after its limit
    - async with asyncio.timeout(seconds):
    + async with asyncio.timeout(seconds * 2):

    it returned, but the model wrote on: AnyIO's cancel does not stop a graph,
    `asyncio.timeout` does (lesson 06)
    - try:
    -     async with asyncio.timeout(seconds):
    -         async for part in stream:
    -             message, _ = part["data"]
    -             text += message.text
    - except TimeoutError:
    -     pass
    + import anyio
    + from contextlib import aclosing
    + with anyio.move_on_after(seconds):
    +     async with aclosing(stream):
    +         async for part in stream:
    +             text += part["data"][0].text

    it set `step_timeout` of the graph, which others use
    - async with asyncio.timeout(seconds):
    -     async for part in stream:
    -         message, _ = part["data"]
    -         text += message.text
    + graph.step_timeout = seconds
    + async for part in stream:
    +     text += part["data"][0].text

    ✅
    - try:
    -     async with asyncio.timeout(seconds):
    -         async for part in stream:
    -             message, _ = part["data"]
    -             text += message.text
    - except TimeoutError:
    -     pass
    + async def read():
    +     nonlocal text
    +     async for part in stream:
    +         text += part["data"][0].text
    + task = asyncio.create_task(read())
    + try:
    +     await asyncio.wait([task], timeout=seconds)
    + finally:
    +     task.cancel()
    +     await asyncio.wait([task])

    ✅
    - async for part in stream:
    -     message, _ = part["data"]
    -     text += message.text
    + async for event in graph.astream_events(ask, version="v2"):
    +     if event["event"] == "on_chat_model_stream":
    +         text += event["data"]["chunk"].text

    ✅
    -     async with asyncio.timeout(seconds):
    -         async for part in stream:
    -             message, _ = part["data"]
    -             text += message.text
    - except TimeoutError:
    +     import time
    +     end = time.monotonic() + seconds
    +     while True:
    +         rest = end - time.monotonic()
    +         part = await asyncio.wait_for(anext(stream), rest)
    +         text += part["data"][0].text
    + except (TimeoutError, StopAsyncIteration):
    """,
)

changed(
    "06.2",
    """
    `stop` waits for the next token, and a stalled model sends none: cancel the
    task
    - task.cancel()
    - await asyncio.wait([task])
    + stopped.append(1)
    + await task
    @@
    - message, _ = part["data"]
    + if stopped:
    +     return
    + message, _ = part["data"]
    @@
    - task = asyncio.create_task(run())
    + stopped = []
    + task = asyncio.create_task(run())

    `stop` waits for the next token, and a stalled model sends none: cancel the
    task
    - task.cancel()
    + if seen:
    +     task.cancel()
    @@
    - show(text)
    + seen.append(text)
    + show(text)
    @@
    - task = asyncio.create_task(run())
    + seen = []
    + task = asyncio.create_task(run())

    `stop` returned while its task still ran: cancel it, then wait for its end
    - await asyncio.wait([task])

    `stop` returned while its task still ran: cancel it, then wait for its end
    - await asyncio.wait([task])
    + await asyncio.sleep(0.05)

    `stop` raised CancelledError: `await task` raises what ended the task
    - await asyncio.wait([task])
    + await task

    `stop` raised CancelledError: `await task` raises what ended the task
    - await asyncio.wait([task])
    + await task
    @@
    - task = asyncio.create_task(run())
    + async def quiet():
    +     try:
    +         await run()
    +     except asyncio.CancelledError:
    +         pass
    + task = asyncio.create_task(quiet())

    `show` got ' soup', not all the text so far
    - show(text)
    + show(message.text)

    `await stop()` fails: write `async def stop()`
    - async def stop():
    -     task.cancel()
    -     await asyncio.wait([task])
    + def stop():
    +     task.cancel()

    it returned a coroutine, not a function: `start` is a plain `def`
    - def start(graph, question, show):
    + async def start(graph, question, show):

    it returned a Task, not a function: `start` is a plain `def`
    - return stop
    + return task

    the stop did not cut off the call of the model
    - task.cancel()
    - await asyncio.wait([task])
    + await asyncio.to_thread(thread.join, 0.1)
    @@
    - task = asyncio.create_task(run())
    + import threading
    + thread = threading.Thread(
    +     target=lambda: asyncio.run(run()), daemon=True
    + )
    + thread.start()

    the stop of one answer ended another one, too
    - task = asyncio.create_task(run())
    + global task
    + task = asyncio.create_task(run())

    ✅
    - await asyncio.wait([task])
    + try:
    +     await task
    + except asyncio.CancelledError:
    +     pass

    ✅
    - await asyncio.wait([task])
    + await asyncio.gather(task, return_exceptions=True)
    """,
)
