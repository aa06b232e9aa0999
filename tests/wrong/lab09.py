"""Wrong answers to the check of lesson 09 and to lab 09."""

import asyncio
from typing import Annotated
from uuid import uuid4

import openai
from fastapi import Depends, FastAPI, Header, HTTPException
from fastapi.sse import EventSourceResponse, ServerSentEvent

from tests.wrong import right, wrong

# --- 09.0


@wrong(
    "09.0",
    "for [] it raised IndexError: a stream may be cut before its first event",
)
def looks_at_the_last(names):
    return {"done": "complete", "error": "failed"}.get(names[-1], "cut")


@wrong(
    "09.0",
    "for ['token'] it said 'complete', not 'cut'",
)
def believes_in_the_end(names):
    return "failed" if "error" in names else "complete"


@wrong(
    "09.0",
    "for ['token'] it said 'failed', not 'cut'",
)
def calls_it_failed(names):
    return "complete" if "done" in names else "failed"


@wrong(
    "09.0",
    "it returned a bool, not a text",
)
def returns_a_bool(names):
    return bool(names) and names[-1] == "done"


@wrong(
    "09.0",
    "it is a plain `def`: nothing is awaited",
)
async def is_async(names):
    return "complete"


@right("09.0")
def asks_for_membership(names):
    if "done" in names:
        return "complete"
    if "error" in names:
        return "failed"
    return "cut"


# --- 09.1


def token(text):
    return ServerSentEvent(event="token", data={"text": text})


def end(name):
    return ServerSentEvent(event=name, data={})


async def pieces(graph, question):
    ask = {"messages": [("user", question)]}
    async for part, _ in graph.astream(ask, stream_mode="messages"):
        if part.type == "AIMessageChunk" and part.text:
            yield part.text


@wrong(
    "09.1",
    "a whole answer ends with `token`, not `done`",
)
async def only_yields_tokens(graph, question):
    async for text in pieces(graph, question):
        yield token(text)


@wrong(
    "09.1",
    "an answer with a bug in a node says `done` as well as `error`: "
    "only what is whole is done",
)
async def is_done_in_any_case(graph, question):
    try:
        async for text in pieces(graph, question):
            yield token(text)
    except Exception:
        yield end("error")
    yield end("done")


@wrong(
    "09.1",
    "an answer with a bug in a node just ends: catch what was raised, "
    "and yield `error`",
)
async def knows_only_the_model(graph, question):
    try:
        async for text in pieces(graph, question):
            yield token(text)
    except openai.APIError:
        yield end("error")
    else:
        yield end("done")


@wrong(
    "09.1",
    "`error` quotes the exception, and a key in it",
)
async def quotes_it_in_a_comment(graph, question):
    try:
        async for text in pieces(graph, question):
            yield token(text)
    except Exception as error:
        yield ServerSentEvent(event="error", data={}, comment=str(error))
    else:
        yield end("done")


@wrong(
    "09.1",
    "`done` has no data, and browsers drop an event without any",
)
async def has_no_data(graph, question):
    try:
        async for text in pieces(graph, question):
            yield token(text)
    except Exception:
        yield end("error")
    else:
        yield ServerSentEvent(event="done")


@wrong(
    "09.1",
    'the data of a token is "Soup", not {"text": "…"}',
)
async def sends_plain_texts(graph, question):
    try:
        async for text in pieces(graph, question):
            yield ServerSentEvent(event="token", data=text)
    except Exception:
        yield end("error")
    else:
        yield end("done")


@wrong(
    "09.1",
    "no event is called `token`, only message, done",
)
async def has_no_names(graph, question):
    try:
        async for text in pieces(graph, question):
            yield ServerSentEvent(data={"text": text})
    except Exception:
        yield end("error")
    else:
        yield end("done")


@wrong(
    "09.1",
    "what a tool returned was sent as a piece of the answer",
)
async def sends_what_tools_say(graph, question):
    ask = {"messages": [("user", question)]}
    try:
        async for part, _ in graph.astream(ask, stream_mode="messages"):
            if part.content:
                yield token(part.content)
    except Exception:
        yield end("error")
    else:
        yield end("done")


@wrong(
    "09.1",
    "nothing was streamed: the model had finished before token 3 came",
)
async def collects_first(graph, question):
    try:
        texts = [text async for text in pieces(graph, question)]
    except Exception:
        yield end("error")
    else:
        for text in texts:
            yield token(text)
        yield end("done")


@wrong(
    "09.1",
    "its reader was cancelled, and it swallowed that: `CancelledError` "
    "is none of yours",
)
async def tells_who_has_left(graph, question):
    try:
        async for text in pieces(graph, question):
            yield token(text)
    except BaseException:
        yield end("error")
    else:
        yield end("done")


@wrong(
    "09.1",
    "of an answer that failed after 2 tokens 4 came",
)
async def tries_again(graph, question):
    for _ in range(2):
        try:
            async for text in pieces(graph, question):
                yield token(text)
        except Exception:
            continue
        yield end("done")
        return
    yield end("error")


@wrong(
    "09.1",
    "it yields a dict, not a ServerSentEvent",
)
async def yields_dicts(graph, question):
    async for text in pieces(graph, question):
        yield {"event": "token", "data": {"text": text}}
    yield {"event": "done", "data": {}}


@right("09.1")
async def writes_its_json(graph, question):
    ending = "done"
    try:
        async for text in pieces(graph, question):
            yield token(text)
    except Exception:
        ending = "error"
    yield ServerSentEvent(event=ending, raw_data="{}")


# --- 09.2


class Log:
    """A right answer in parts, for wrong ones to break."""

    def __init__(self, events):
        self.log, self.more = [], asyncio.Condition()
        self.over = False
        self.task = asyncio.create_task(self.write(events))

    def add(self, event):
        event.id = str(len(self.log) + 1)
        self.log.append(event)

    async def write(self, events):
        try:
            async for event in events:
                self.add(event)
                async with self.more:
                    self.more.notify_all()
        finally:
            self.over = True
            async with self.more:
                self.more.notify_all()

    async def follow(self, seen):
        while True:
            async with self.more:
                await self.more.wait_for(
                    lambda: self.over or len(self.log) > seen  # noqa: B023
                )
            for event in self.log[seen:]:
                seen += 1
                yield event
            if self.over and seen >= len(self.log):
                return


@right("09.2")
def waits_for_a_condition(events):
    return Log(events).follow


@wrong(
    "09.2",
    "each event went to one of two readers: a list keeps it for all, a "
    "queue does not",
)
def shares_a_queue(events):
    class Queue(Log):
        def __init__(self, events):
            self.queue = asyncio.Queue()
            super().__init__(events)

        def add(self, event):
            super().add(event)
            self.queue.put_nowait(event)

        async def follow(self, seen):
            while not self.over or not self.queue.empty():
                yield await self.queue.get()

    return Queue(events).follow


@wrong(
    "09.2",
    "who has seen 4 events gets number 1",
)
def ignores_seen(events):
    run = Log(events)
    return lambda seen: run.follow(0)


@wrong(
    "09.2",
    "after number 0 come the ids 0, 1, 2, 3",
)
def counts_from_zero(events):
    class Zero(Log):
        def add(self, event):
            event.id = str(len(self.log))
            self.log.append(event)

    return Zero(events).follow


@wrong(
    "09.2",
    "the events have no `id`: nobody can say what he has seen",
)
def sets_no_id(events):
    class Nameless(Log):
        def add(self, event):
            self.log.append(event)

    return Nameless(events).follow


@wrong(
    "09.2",
    "nothing was streamed: a reader got no event while the run went on",
)
def waits_for_the_end(events):
    class Late(Log):
        async def follow(self, seen):
            await asyncio.wait([self.task])
            async for event in Log.follow(self, seen):
                yield event

    return Late(events).follow


@wrong(
    "09.2",
    "without a reader nothing was read: start a task that reads",
)
def is_read_by_its_reader(events):
    class Direct:
        def __init__(self, events):
            self.events, self.log = events, []

        async def follow(self, seen):
            for event in self.log[seen:]:
                yield event
            async for event in self.events:
                event.id = str(len(self.log) + 1)
                self.log.append(event)
                yield event

    return Direct(events).follow


@wrong(
    "09.2",
    "a reader left, and the run ended with it",
)
def ends_with_a_reader(events):
    class Ends(Log):
        async def follow(self, seen):
            try:
                async for event in Log.follow(self, seen):
                    yield event
            finally:
                self.task.cancel()

    return Ends(events).follow


@wrong(
    "09.2",
    "what is read has failed, and a reader waits on: wake it in `finally`",
)
def forgets_to_wake(events):
    class Sleeps(Log):
        async def write(self, events):
            async for event in events:
                self.add(event)
                async with self.more:
                    self.more.notify_all()
            self.over = True
            async with self.more:
                self.more.notify_all()

    return Sleeps(events).follow


LOG = []


@wrong(
    "09.2",
    "who has seen 4 events gets number 5",
)
def has_one_log_for_all(events):
    run = Log(events)
    run.log = LOG
    return run.follow


@wrong(
    "09.2",
    "it returned a coroutine, not the function `follow`",
)
async def is_a_coroutine(events):
    return Log(events).follow


@wrong(
    "09.2",
    "follow(0) returned a coroutine, not an async generator: is "
    "`follow` an `async def` with `yield`?",
)
def follows_without_a_yield(events):
    run = Log(events)

    async def follow(seen):
        return [event async for event in run.follow(seen)]

    return follow


# --- 09.3


def routes(start, read):
    """The app of a right answer, with two of its parts."""
    app, runs = FastAPI(), {}

    def find(run_id: str):
        if run_id not in runs:
            raise HTTPException(404, "no such run")
        return runs[run_id]

    @app.post("/runs")
    async def post(question: str):
        return await start(runs, question)

    @app.get("/runs/{run_id}", response_class=EventSourceResponse)
    async def get(
        run: Annotated[object, Depends(find)],
        last_event_id: Annotated[int, Header()] = 0,
    ):
        async for event in read(run, last_event_id):
            yield event

    return app


def starting(ask):
    async def start(runs, question):
        run_id = uuid4().hex
        runs[run_id] = Log(ask(question))
        return {"run": run_id}

    return start


@right("09.3")
def has_both_routes(ask):
    return routes(starting(ask), Log.follow)


@right("09.3")
def counts_its_runs(ask):
    async def start(runs, question):
        runs[str(len(runs))] = Log(ask(question))
        return {"run": len(runs) - 1}

    return routes(start, Log.follow)


@wrong(
    "09.3",
    "after Last-Event-ID 5 came the events 1, 2, 3, 4, 5, 6, 7, 8, not 6 to 8",
)
def ignores_the_header(ask):
    return routes(starting(ask), lambda run, seen: run.follow(0))


@wrong(
    "09.3",
    "an unknown run got 200, not 404: a generator begins after the "
    "status has gone out",
)
def raises_in_the_generator(ask):
    app, runs = FastAPI(), {}

    @app.post("/runs")
    async def post(question: str):
        return await starting(ask)(runs, question)

    @app.get("/runs/{run_id}", response_class=EventSourceResponse)
    async def get(run_id: str):
        if run_id not in runs:
            raise HTTPException(404, "no such run")
        async for event in runs[run_id].follow(0):
            yield event

    return app


@wrong(
    "09.3",
    "3 POST /runs called `ask` 0 times: each starts one run, with its "
    "question",
)
def starts_when_it_reads(ask):
    async def remember(runs, question):
        run_id = uuid4().hex
        runs[run_id] = question
        return {"run": run_id}

    return routes(remember, lambda asked, seen: Log(ask(asked)).follow(seen))


@wrong(
    "09.3",
    "POST /runs waits for the run: start it, and return",
)
def waits_in_the_post(ask):
    async def wait(runs, question):
        about = await starting(ask)(runs, question)
        await runs[about["run"]].task
        return about

    return routes(wait, Log.follow)


@wrong(
    "09.3",
    'POST /runs got 200 and null, not {"run": "…"}',
)
def returns_no_id(ask):
    async def forget(runs, question):
        runs["run"] = Log(ask(question))

    return routes(forget, Log.follow)


@wrong(
    "09.3",
    "two runs have the same id",
)
def goes_by_the_question(ask):
    async def name(runs, question):
        runs[question] = Log(ask(question))
        return {"run": question}

    return routes(name, Log.follow)


@wrong(
    "09.3",
    "3 POST /runs called `ask` 3 times: each starts one run, with its "
    "question",
)
def asks_one_question(ask):
    async def start(runs, question):
        return await starting(ask)(runs, "soup")

    return routes(start, Log.follow)


@wrong(
    "09.3",
    "no running event loop: FastAPI runs a `def` endpoint in a thread, "
    "so write `async def`",
)
def has_a_sync_start(ask):
    app = FastAPI()

    @app.post("/runs")
    def start(question: str):
        Log(ask(question))
        return {"run": "1"}

    return app


@wrong(
    "09.3",
    "it returned None, not the app: `return app`: is a `return` missing?",
)
def forgets_the_app(ask):
    routes(starting(ask), Log.follow)


# --- what the first judges did not see


def told(error):
    return ServerSentEvent(event="error", data={"why": error})


@wrong("09.1", "`error` quotes the exception, and a key in it")
async def quotes_only_the_model(graph, question):
    try:
        async for text in pieces(graph, question):
            yield token(text)
    except openai.APIError as error:
        yield told(str(error))
    except Exception as error:
        yield told(type(error).__name__)
    else:
        yield end("done")


@wrong("09.1", "a whole answer ends with `error`, not `done`")
async def takes_an_empty_answer_for_a_failure(graph, question):
    code = "empty"
    try:
        async for text in pieces(graph, question):
            code = None
            yield token(text)
    except Exception as error:
        code = type(error).__name__
    yield told(code) if code else end("done")


@wrong("09.2", "what is read has failed, and `follow` raised that: end")
def lets_the_failure_out(events):
    log = Log(events)

    async def follow(seen):
        async for event in log.follow(seen):
            yield event
        await log.task

    return follow


@wrong("09.2", "who has seen 0 events got 100 more, not 1500")
def forgets_what_is_old(events):
    log = Log(events)

    async def follow(seen):
        async for event in log.follow(max(seen, len(log.log) - 100)):
            yield event

    return follow
