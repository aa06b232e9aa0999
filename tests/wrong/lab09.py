"""Wrong answers, and right ones, to lesson 09 and lab 09."""

from tests.wrong import changed

changed(
    "09.0",
    """
    for [] it raised IndexError: a stream may be cut before its first event
    - last = names[-1] if names else "nothing"
    + last = names[-1]

    for ['token'] it said 'complete', not 'cut'
    - return {"done": "complete", "error": "failed"}.get(last, "cut")
    + return "failed" if "error" in names else "complete"

    for ['token'] it said 'failed', not 'cut'
    - return {"done": "complete", "error": "failed"}.get(last, "cut")
    + return "complete" if "done" in names else "failed"

    it returned a bool, not a text
    - return {"done": "complete", "error": "failed"}.get(last, "cut")
    + return last == "done"

    it is a plain `def`: nothing is awaited
    - def how_it_ended(names):
    + async def how_it_ended(names):

    ✅
    - last = names[-1] if names else "nothing"
    - return {"done": "complete", "error": "failed"}.get(last, "cut")
    + if "done" in names:
    +     return "complete"
    + return "failed" if "error" in names else "cut"
    """,
)

changed(
    "09.1",
    """
    a whole answer ends with `token`, not `done`
    - yield ServerSentEvent(event="done", data={})
    + pass

    an answer with a bug in a node says `done` as well as `error`: only what is
    whole is done
    - else:
    + finally:

    an answer with a bug in a node just ends: catch what was raised, and yield
    `error`
    - except Exception as error:
    + except httpx2.HTTPError as error:

    `error` quotes the exception, and a key in it
    - yield ServerSentEvent(event="error", data={"code": code})
    + yield ServerSentEvent(event="error", data={}, comment=str(error))

    `error` quotes the exception, and a key in it
    - code = type(error).__name__
    + code = getattr(error, "message", type(error).__name__)

    `done` has no data, and browsers drop an event without any
    - yield ServerSentEvent(event="done", data={})
    + yield ServerSentEvent(event="done")

    the data of a token is "Soup", not {"text": "…"}
    - yield ServerSentEvent(event="token", data={"text": text})
    + yield ServerSentEvent(event="token", data=text)

    no event is called `token`, only message, done
    - yield ServerSentEvent(event="token", data={"text": text})
    + yield ServerSentEvent(data={"text": text})

    what a tool returned was sent as a piece of the answer
    - async for text in said(graph, question):
    -     yield ServerSentEvent(event="token", data={"text": text})
    + given = {"messages": [("user", question)]}
    + async for part, _ in graph.astream(given, stream_mode="messages"):
    +     if part.text:
    +         yield ServerSentEvent(event="token", data={"text": part.text})

    nothing was streamed: it came when the model had finished
    - async for text in said(graph, question):
    + for text in [text async for text in said(graph, question)]:

    its reader was cancelled, and it swallowed that
    - except Exception as error:
    + except BaseException as error:

    of an answer that failed after 2 tokens 4 came
    - try:
    + try:
    +     async for text in said(graph, question):
    +         yield ServerSentEvent(event="token", data={"text": text})
    +     yield ServerSentEvent(event="done", data={})
    +     return
    + except Exception:
    +     pass
    + try:

    it yields a dict, not a ServerSentEvent
    - yield ServerSentEvent(event="token", data={"text": text})
    + yield {"event": "token", "data": {"text": text}}

    a whole answer ends with `error`, not `done`
    - yield ServerSentEvent(event="done", data={})
    + name = "done" if "text" in locals() else "error"
    + yield ServerSentEvent(event=name, data={})

    ✅
    - yield ServerSentEvent(event="done", data={})
    + yield ServerSentEvent(event="done", raw_data="{}")
    """,
)

changed(
    "09.2",
    """
    each event went to one of two readers, not to both
    - for event in log[seen:]:
    -     seen += 1
    -     yield event
    + while log:
    +     seen += 1
    +     yield log.pop(0)

    who has seen 4 events gets number 1
    - while seen < len(log) or not task.done():
    + seen = 0
    + while seen < len(log) or not task.done():

    after number 0 come the ids 0, 1, 2, 3
    - event.id = str(len(log) + 1)
    + event.id = str(len(log))

    the events have no `id`: nobody can say what he has seen
    - event.id = str(len(log) + 1)

    nothing was streamed: it came when the model had finished
    - while seen < len(log) or not task.done():
    + await asyncio.wait([task])
    + while seen < len(log) or not task.done():

    without a reader nothing was read: start a task
    - task = asyncio.create_task(write())
    + task = asyncio.Future()
    @@
    - for event in log[seen:]:
    -     seen += 1
    -     yield event
    + async for event in events:
    +     log.append(event)
    +     yield event

    a reader left, and the run ended with it
    - for event in log[seen:]:
    -     seen += 1
    -     yield event
    + try:
    +     for event in log[seen:]:
    +         seen += 1
    +         yield event
    + except GeneratorExit:
    +     task.cancel()
    +     raise

    the run has failed, and a reader waits on
    - finally:
    -     changed.set()
    + finally:
    +     pass

    who has seen 4 events gets number 5
    - log = []
    + log = globals().setdefault("all_events", [])

    it returned a coroutine, not the function `follow`
    - def start_run(events):
    + async def start_run(events):

    follow(0) returned a coroutine, not an async generator: is `follow` an
    `async def` with `yield`?
    - yield event
    + print(event)

    the run has failed, and `follow` raised that
    - while seen < len(log) or not task.done():
    + while seen < len(log) or not task.done() or task.result():

    an event came, and who waited for it did not get it
    - await changed.wait()
    + await asyncio.wait_for(changed.wait(), 0.5)

    who has seen 0 events got 100 more, not 1500
    - while seen < len(log) or not task.done():
    + seen = max(seen, len(log) - 100)
    + while seen < len(log) or not task.done():

    ✅
    - changed = asyncio.Event()
    + changed = asyncio.Condition()
    @@
    - changed.set()
    - changed.clear()
    + async with changed:
    +     changed.notify_all()
    @@
    - finally:
    -     changed.set()
    + finally:
    +     asyncio.current_task().add_done_callback(wake)
    @@
    - async def follow(seen):
    + def wake(_):
    +     asyncio.create_task(wake_all())
    + async def wake_all():
    +     async with changed:
    +         changed.notify_all()
    + async def follow(seen):
    @@
    - if seen >= len(log) and not task.done():
    -     await changed.wait()
    + async with changed:
    +     if seen >= len(log) and not task.done():
    +         await changed.wait()
    """,
)

changed(
    "09.3",
    """
    after Last-Event-ID 5 came the events 1, 2, 3, 4, 5, 6, 7, 8, not 6 to 8
    - runs[run_id] = start_run(ask(question))
    + follow = start_run(ask(question))
    + runs[run_id] = lambda seen: follow(0)

    an unknown run got 200, not 404: a generator begins after the status has
    gone out
    - add_reading(app, runs)
    + @app.get("/runs/{run_id}", response_class=EventSourceResponse)
    + async def get(run_id: str):
    +     if run_id not in runs:
    +         raise HTTPException(404, "no such run")
    +     async for event in runs[run_id](0):
    +         yield event

    3 POST /runs called `ask` 0 times: each starts one run, with its question
    - runs[run_id] = start_run(ask(question))
    + runs[run_id] = lambda seen: start_run(ask(question))(seen)

    3 POST /runs called `ask` 3 times: each starts one run, with its question
    - runs[run_id] = start_run(ask(question))
    + runs[run_id] = start_run(ask("soup"))

    POST /runs waits for the run: start it, and return
    - runs[run_id] = start_run(ask(question))
    + runs[run_id] = start_run(ask(question))
    + async for _ in runs[run_id](0):
    +     pass

    POST /runs got 200 and null, not {"run": "…"}
    - return {"run": run_id}

    two runs have the same id
    - run_id = uuid4().hex
    + run_id = question

    no running event loop: FastAPI runs a `def` endpoint in a thread, so write
    `async def`
    - async def start(question: str):
    + def start(question: str):

    it returned None, not the app: `return app`: is a `return` missing?
    - return app

    ✅
    - run_id = uuid4().hex
    + run_id = str(len(runs))
    @@
    - return {"run": run_id}
    + return {"run": int(run_id)}
    """,
)
