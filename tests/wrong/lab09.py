"""Wrong answers to the check of lesson 09 and to lab 09."""

import asyncio
import html
import re
from uuid import uuid4

import openai
from fastapi import BackgroundTasks, Depends, FastAPI, Header, HTTPException
from fastapi.responses import PlainTextResponse, StreamingResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from tests.wrong import right, wrong

# --- 09.0


@wrong("09.0", "the model's rate limit got 502, not 429")
def says_502_to_all(error):
    return HTTPException(502, "the model failed")


@wrong("09.0", "429 came without Retry-After")
def forgets_when(error):
    if isinstance(error, openai.RateLimitError):
        return HTTPException(429, "asked too often")
    if isinstance(error, TimeoutError | openai.APITimeoutError):
        return HTTPException(504, "too slow")
    return HTTPException(502, "the model failed")


@wrong("09.0", "429 came with Retry-After 1; the model had said 7")
def makes_up_when(error):
    if isinstance(error, openai.RateLimitError):
        return HTTPException(429, "asked too often", {"Retry-After": "1"})
    return HTTPException(502, "the model failed")


@wrong("09.0", "openai.APITimeoutError got 502, not 504")
def knows_one_timeout(error):
    if isinstance(error, openai.RateLimitError):
        return HTTPException(429, "often", dict(error.response.headers))
    if isinstance(error, TimeoutError):
        return HTTPException(504, "too slow")
    return HTTPException(502, "the model failed")


@wrong("09.0", "TimeoutError got 502, not 504")
def knows_the_other_timeout(error):
    if isinstance(error, openai.RateLimitError):
        return HTTPException(429, "often", dict(error.response.headers))
    if isinstance(error, openai.APITimeoutError):
        return HTTPException(504, "too slow")
    return HTTPException(502, "the model failed")


@wrong("09.0", "the client reads the text of the error, and a key in it")
def quotes_the_error(error):
    wait = {"Retry-After": "7"}
    if isinstance(error, openai.RateLimitError):
        return HTTPException(429, "asked too often", wait)
    if isinstance(error, TimeoutError | openai.APITimeoutError):
        return HTTPException(504, "too slow")
    return HTTPException(502, f"failed: {error}")


@wrong(
    "09.0",
    "the model's rate limit got 500, that of an app that failed: is a header "
    "no text?",
)
def sends_a_number(error):
    if not isinstance(error, openai.RateLimitError):
        return HTTPException(502, "the model failed")
    wait = int(error.response.headers["retry-after"])
    return HTTPException(429, "asked too often", {"Retry-After": wait})


@wrong(
    "09.0", "it raised the HTTPException: return it, the endpoint raises it"
)
def raises_it(error):
    raise HTTPException(502, "the model failed")


@wrong("09.0", "it returned an int, not an HTTPException")
def returns_a_number(error):
    return 429


# --- 09.1


def texts(graph, question):
    ask = {"messages": [("user", question)]}
    return graph.astream(ask, stream_mode="messages")


def token(text):
    return ServerSentEvent(event="token", data={"text": text})


def end(name, **data):
    return ServerSentEvent(event=name, data=data)


@wrong(
    "09.1",
    "an answer that was cut just ends: catch what was raised, and yield "
    "`error`",
)
async def catches_nothing(graph, question):
    async for part, _ in texts(graph, question):
        if part.text:
            yield token(part.text)
    yield end("done")


@wrong(
    "09.1",
    "an answer that was cut says `done`: only what is whole is done",
)
async def is_always_done(graph, question):
    try:
        async for part, _ in texts(graph, question):
            if part.text:
                yield token(part.text)
    except Exception as error:
        print(type(error).__name__)
    yield end("done")


@wrong(
    "09.1",
    "an answer that was cut says `done` as well as `error`: only what is "
    "whole is done",
)
async def is_done_after_an_error(graph, question):
    try:
        async for part, _ in texts(graph, question):
            if part.text:
                yield token(part.text)
    except Exception:
        yield end("error")
    yield end("done")


@wrong(
    "09.1",
    "an answer whose graph raised a ValueError just ends: catch what was "
    "raised, and yield `error`",
)
async def knows_only_the_model(graph, question):
    try:
        async for part, _ in texts(graph, question):
            if part.text:
                yield token(part.text)
        yield end("done")
    except openai.APIError:
        yield end("error")


@wrong("09.1", "`error` quotes the exception, and a key in it")
async def quotes_the_exception(graph, question):
    try:
        async for part, _ in texts(graph, question):
            if part.text:
                yield token(part.text)
        yield end("done")
    except Exception as error:
        yield end("error", message=f"sorry: {error}")


@wrong(
    "09.1",
    "nothing was streamed: the model had finished before token 3 came",
)
async def collects_first(graph, question):
    try:
        state = await graph.ainvoke({"messages": [("user", question)]})
        for word in re.findall(r"\s*\S+", state["messages"][-1].text):
            yield token(word)
        yield end("done")
    except Exception:
        yield end("error")


@wrong("09.1", "`done` has no data, and browsers drop an event without any")
async def sends_an_empty_done(graph, question):
    try:
        async for part, _ in texts(graph, question):
            if part.text:
                yield token(part.text)
        yield ServerSentEvent(event="done")
    except Exception:
        yield end("error")


@wrong(
    "09.1",
    "the text came as 'The soup is hot. Bread comes fresh!', not 'The soup is "
    "hot.\\n\\nBread comes fresh!'",
)
async def flattens_lines(graph, question):
    async for part, _ in texts(graph, question):
        if part.text:
            yield token(part.text.replace("\n\n", " "))
    yield end("done")


@wrong(
    "09.1",
    "the text came as '&lt;b&gt;&quot;soup&quot; &amp; tea&lt;/b&gt; "
    "&lt;script&gt;cook()&lt;/script&gt;', not '<b>\"soup\" & tea</b> "
    "<script>cook()</script>'",
)
async def escapes_for_the_page(graph, question):
    async for part, _ in texts(graph, question):
        if part.text:
            yield token(html.escape(part.text))
    yield end("done")


@wrong("09.1", "no event is called `token`: name each, `event=...`")
async def yields_texts(graph, question):
    async for part, _ in texts(graph, question):
        if part.text:
            yield part.text


@wrong("09.1", 'the data of a token is "The", not {"text": "…"}')
async def sends_bare_texts(graph, question):
    async for part, _ in texts(graph, question):
        if part.text:
            yield ServerSentEvent(event="token", data=part.text)
    yield end("done")


@wrong(
    "09.1",
    "it returned a coroutine, not an async generator: yield each event",
)
async def returns_the_events(graph, question):
    return [token(part.text) async for part, _ in texts(graph, question)]


@right("09.1")
async def numbers_its_events(graph, question):
    number, last = 1, end("done", outcome="complete")
    yield ServerSentEvent(event="start", id="1", data={"question": question})
    try:
        async for part, _ in texts(graph, question):
            if part.type == "AIMessageChunk" and part.text:
                number += 1
                event = token(part.text)
                event.id = str(number)
                yield event
    except Exception:
        last = end("error", message="ask again")
    yield last


# --- 09.2


def busy(*, status=503, **headers):
    headers = {name.replace("_", "-"): to for name, to in headers.items()}
    return HTTPException(status, "full", headers)


def app_with(chat, **options):
    app = FastAPI()
    app.get("/chat", **options)(chat)
    return app


@wrong(
    "09.2",
    "8 calls were in flight at the model, not 3: a place is taken until the "
    "stream has ended",
)
def counts_the_endpoint(tokens, cap):
    places = asyncio.Semaphore(cap)

    async def chat(question: str):
        if places.locked():
            raise busy(Retry_After="1")
        async with places:
            return StreamingResponse(tokens(question))

    return app_with(chat)


@wrong(
    "09.2",
    "nobody was refused: 5 of 8 clients waited for a place instead",
)
def lets_them_wait(tokens, cap):
    places = asyncio.Semaphore(cap)

    async def chat(question: str):
        async def body():
            async with places:
                async for text in tokens(question):
                    yield text

        return StreamingResponse(body())

    return app_with(chat)


@wrong(
    "09.2",
    "the surplus got 200, and then nothing: decide before the stream begins",
)
def refuses_too_late(tokens, cap):
    places = asyncio.Semaphore(cap)

    async def chat(question: str):
        async def body():
            if places.locked():
                raise busy(Retry_After="1")
            async with places:
                async for text in tokens(question):
                    yield text

        return StreamingResponse(body())

    return app_with(chat)


def counted(tokens, cap, refusal, ends):
    """Count in a list; `ends` is what gives the place back."""
    taken = []

    async def chat(question: str):
        if len(taken) >= cap:
            raise refusal
        taken.append(question)
        return StreamingResponse(ends(tokens(question), taken))

    return app_with(chat)


async def at_the_end(parts, taken):
    async for part in parts:
        yield part
    taken.pop()


async def after_an_error(parts, taken):
    try:
        async for part in parts:
            yield part
    except Exception:
        taken.pop()
        raise
    taken.pop()


async def always(parts, taken):
    try:
        async for part in parts:
            yield part
    finally:
        taken.pop()


@wrong("09.2", "after 3 answers that failed there are 0 places, not 3")
def forgets_errors(tokens, cap):
    return counted(tokens, cap, busy(Retry_After="1"), at_the_end)


@wrong("09.2", "after 3 clients that hung up there are 0 places, not 3")
def forgets_hang_ups(tokens, cap):
    return counted(tokens, cap, busy(Retry_After="1"), after_an_error)


@wrong(
    "09.2",
    "the surplus got 429, which means that this client asks too often; a full "
    "service says 503",
)
def blames_the_client(tokens, cap):
    refusal = busy(status=429, Retry_After="1")
    return counted(tokens, cap, refusal, always)


@wrong("09.2", "503 came without Retry-After: say when to come again")
def says_no_time(tokens, cap):
    return counted(tokens, cap, busy(), always)


@wrong("09.2", "Retry-After is '0.5', not whole seconds from 1 on")
def says_half_a_second(tokens, cap):
    return counted(tokens, cap, busy(Retry_After="0.5"), always)


@wrong("09.2", "8 clients got 2 x 200, 6 x 503; expected 3 x 200 and 5 x 503")
def takes_one_less(tokens, cap):
    return counted(tokens, cap - 1, busy(Retry_After="1"), always)


@wrong("09.2", "after 3 whole answers there are 0 places, not 3")
def never_gives_back(tokens, cap):
    async def keeps(parts, taken):
        async for part in parts:
            yield part

    return counted(tokens, cap, busy(Retry_After="1"), keeps)


@wrong("09.2", "after 3 answers that failed there are 0 places, not 3")
def cleans_up_in_the_background(tokens, cap):
    taken = []

    async def chat(question: str, after: BackgroundTasks):
        if len(taken) >= cap:
            raise busy(Retry_After="1")
        taken.append(question)
        after.add_task(taken.pop)
        return StreamingResponse(tokens(question))

    return app_with(chat)


@wrong(
    "09.2",
    "it returned None, not the app: write `return app`: is a `return` "
    "missing?",
)
def forgets_the_app(tokens, cap):
    counted(tokens, cap, busy(Retry_After="1"), always)


@right("09.2")
def counts_in_a_list(tokens, cap):
    return counted(tokens, cap, busy(Retry_After="3"), always)


@right("09.2")
def answers_with_a_response(tokens, cap):
    taken = set()

    async def chat(question: str):
        if len(taken) >= cap:
            return PlainTextResponse("full", 503, {"Retry-After": "2"})
        place = object()
        taken.add(place)

        async def body():
            try:
                async for text in tokens(question):
                    yield text
            finally:
                taken.discard(place)

        return StreamingResponse(body())

    return app_with(chat)


# --- 09.3


class Log:
    """A right answer, to spoil."""

    def __init__(self, events):
        self.log, self.more = [], asyncio.Condition()
        self.task = asyncio.create_task(self.write(events))

    async def write(self, events):
        async for event in events:
            self.add(event)
            async with self.more:
                self.more.notify_all()
        async with self.more:
            self.log.append(None)
            self.more.notify_all()

    def add(self, event):
        event.id = str(len(self.log) + 1)
        self.log.append(event)

    async def follow(self, seen):
        while True:
            async with self.more:
                await self.more.wait_for(lambda at=seen: at < len(self.log))
            if self.log[seen] is None:
                return
            yield self.log[seen]
            seen += 1


@right("09.3")
def waits_for_a_condition(events):
    class Patient(Log):
        async def follow(self, seen):
            seen = min(seen, len(self.log) - 1) if self.task.done() else seen
            async for event in Log.follow(self, seen):
                yield event

    return Patient(events).follow


@right("09.3")
def looks_every_50_ms(events):
    class Looking(Log):
        async def follow(self, seen):
            while not self.task.done() or seen < len(self.log) - 1:
                for event in self.log[seen:]:
                    if event is not None:
                        seen += 1
                        yield event
                await asyncio.sleep(0.05)

    return Looking(events).follow


@wrong(
    "09.3",
    "each token went to one of two readers: a list keeps it for all, a queue "
    "does not",
)
def has_one_queue(events):
    class Queue(Log):
        def __init__(self, events):
            self.queue = asyncio.Queue()
            Log.__init__(self, events)

        def add(self, event):
            Log.add(self, event)
            self.queue.put_nowait(event)

        async def follow(self, seen):
            while True:
                event = await self.queue.get()
                yield event
                if event.event == "done":
                    self.queue.put_nowait(event)
                    return

    return Queue(events).follow


@wrong("09.3", "after Last-Event-ID 5 came event 1, not 6")
def starts_over(events):
    class Over(Log):
        async def follow(self, seen):
            async for event in Log.follow(self, 0):
                yield event

    return Over(events).follow


@wrong("09.3", "after Last-Event-ID 5 came event 5, not 6")
def repeats_one(events):
    class Twice(Log):
        async def follow(self, seen):
            async for event in Log.follow(self, max(seen - 1, 0)):
                yield event

    return Twice(events).follow


@wrong("09.3", "after Last-Event-ID 5 came event 7, not 6")
def loses_one(events):
    class Lost(Log):
        async def follow(self, seen):
            async for event in Log.follow(self, seen + 1 if seen else 0):
                yield event

    return Lost(events).follow


@wrong("09.3", "the first ids are 0, 1, 2, 3, 4, not 1 to 5")
def counts_from_zero(events):
    class Zero(Log):
        def add(self, event):
            event.id = str(len(self.log))
            self.log.append(event)

    return Zero(events).follow


@wrong("09.3", "the events have no `id`: nobody can say what he has seen")
def sets_no_id(events):
    class Nameless(Log):
        def add(self, event):
            self.log.append(event)

    return Nameless(events).follow


@wrong(
    "09.3",
    "nothing was streamed: the model had finished before token 5 came",
)
def waits_for_the_end(events):
    class Late(Log):
        async def follow(self, seen):
            await self.task
            async for event in Log.follow(self, seen):
                yield event

    return Late(events).follow


@wrong(
    "09.3", "who came back got nothing: the run must not end with its reader"
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


@wrong("09.3", "it returned a coroutine, not the function `follow`")
async def is_a_coroutine(events):
    return Log(events).follow


@wrong(
    "09.3",
    "it returned a coroutine, not the function `follow`: is it an `async def` "
    "with `yield`?",
)
def follows_without_a_yield(events):
    run = Log(events)

    async def follow(seen):
        return [event async for event in run.follow(seen)]

    return follow


@wrong("09.3", "a client got nothing for 8 s")
def never_ends(events):
    class Endless(Log):
        async def write(self, events):
            async for event in events:
                self.add(event)
                async with self.more:
                    self.more.notify_all()

    return Endless(events).follow


# --- 09.4


def routes(ask, start, read):
    """The app of a right answer, with two of its parts."""
    app, runs = FastAPI(), {}

    def find(run_id: str):
        if run_id not in runs:
            raise HTTPException(404, "no such run")
        return runs[run_id]

    found = Depends(find)

    @app.post("/runs")
    async def post(question: str):
        return await start(runs, ask, question)

    @app.get("/runs/{run_id}", response_class=EventSourceResponse)
    async def get(run=found, last_event_id: int = Header(0), after: int = 0):
        async for event in read(run, last_event_id):
            yield event

    return app


class PatientLog(Log):
    async def follow(self, seen):
        while not self.task.done() or seen < len(self.log) - 1:
            for event in self.log[seen:]:
                if event is not None:
                    seen += 1
                    yield event
            await asyncio.sleep(0.02)


async def starts(runs, ask, question):
    run_id = uuid4().hex
    runs[run_id] = PatientLog(ask(question))
    return {"run": run_id}


@right("09.4")
def has_both_routes(ask):
    return routes(ask, starts, PatientLog.follow)


@wrong("09.4", "after Last-Event-ID 5 came event 1, not 6")
def ignores_the_header(ask):
    return routes(ask, starts, lambda run, seen: run.follow(0))


@wrong("09.4", "after Last-Event-ID 5 came event 1, not 6")
def reads_the_query(ask):
    app, runs = FastAPI(), {}

    def find(run_id: str):
        if run_id not in runs:
            raise HTTPException(404, "no such run")
        return runs[run_id]

    found = Depends(find)

    @app.post("/runs")
    async def post(question: str):
        return await starts(runs, ask, question)

    @app.get("/runs/{run_id}", response_class=EventSourceResponse)
    async def get(run=found, last_event_id: int = 0):
        async for event in run.follow(last_event_id):
            yield event

    return app


@wrong(
    "09.4",
    "an unknown run got 200, not 404: a generator begins after the status has "
    "gone out",
)
def raises_in_the_generator(ask):
    app, runs = FastAPI(), {}

    @app.post("/runs")
    async def post(question: str):
        return await starts(runs, ask, question)

    @app.get("/runs/{run_id}", response_class=EventSourceResponse)
    async def get(run_id: str, last_event_id: int = Header(0)):
        if run_id not in runs:
            raise HTTPException(404, "no such run")
        async for event in runs[run_id].follow(last_event_id):
            yield event

    return app


@wrong("09.4", "an unknown run got 500, not 404")
def knows_every_run(ask):
    app, runs = FastAPI(), {}
    found = Depends(lambda run_id: runs[run_id])

    @app.post("/runs")
    async def post(question: str):
        return await starts(runs, ask, question)

    @app.get("/runs/{run_id}", response_class=EventSourceResponse)
    async def get(run=found, last_event_id: int = Header(0)):
        async for event in run.follow(last_event_id):
            yield event

    return app


@right("09.4")
def counts_its_runs(ask):
    app, runs = FastAPI(), []

    def find(number: int):
        if number >= len(runs):
            raise HTTPException(404, "no such run")
        return runs[number]

    found = Depends(find)

    @app.post("/runs")
    async def post(question: str):
        runs.append(PatientLog(ask(question)))
        return {"run": len(runs) - 1}

    @app.get("/runs/{number}", response_class=EventSourceResponse)
    async def get(run=found, last_event_id: int = Header(0)):
        async for event in run.follow(last_event_id):
            yield event

    return app


@wrong(
    "09.4",
    "the model was asked 2 times for one run: only POST /runs may start one",
)
def starts_when_it_reads(ask):
    async def remembers(runs, ask, question):
        run_id = uuid4().hex
        runs[run_id] = question
        return {"run": run_id}

    def read(question, seen):
        return PatientLog(ask(question)).follow(seen)

    return routes(ask, remembers, read)


@wrong(
    "09.4",
    "nothing was streamed: the model had finished before token 5 came",
)
def waits_in_the_post(ask):
    async def waits(runs, ask, question):
        about = await starts(runs, ask, question)
        await runs[about["run"]].task
        return about

    return routes(ask, waits, PatientLog.follow)


@wrong("09.4", 'POST /runs got 200 and null, not {"run": "…"}')
def returns_no_id(ask):
    async def forgets(runs, ask, question):
        runs["run"] = PatientLog(ask(question))

    return routes(ask, forgets, PatientLog.follow)


@wrong(
    "09.4",
    "who came back got nothing: the run must not end with its reader",
)
def forgets_what_was_read(ask):
    app, runs = FastAPI(), {}

    def find(run_id: str):
        if run_id not in runs:
            raise HTTPException(404, "no such run")
        return runs.pop(run_id)

    found = Depends(find)

    @app.post("/runs")
    async def post(question: str):
        return await starts(runs, ask, question)

    @app.get("/runs/{run_id}", response_class=EventSourceResponse)
    async def get(run=found, last_event_id: int = Header(0)):
        async for event in run.follow(last_event_id):
            yield event

    return app


@wrong("09.4", "a run ends with `token`, not `done`")
def stops_before_the_end(ask):
    async def read(run, seen):
        async for event in run.follow(seen):
            if event.event == "token":
                yield event

    return routes(ask, starts, read)
