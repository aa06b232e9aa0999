"""Judge the check of lesson 09 and the four tasks of lab 09."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import httpx2
import openai
from fastapi import FastAPI, Header, HTTPException
from fastapi.sse import EventSourceResponse, ServerSentEvent
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph

from workshop.checks.bench import Kitchen, Wrong, call, expect, kitchen
from workshop.checks.http import PATIENCE, Reply, Served, served
from workshop.model import Meter

Answer = Callable[..., Any]
Events = list[httpx2.ServerSentEvent]

WHAT = "What is LangGraph?"
PARAGRAPHS = "A meal in two paragraphs"
MARKUP = 'Reply with exactly: <b>"soup" & tea</b> <script>cook()</script>'
CUT_AFTER = 3  # tokens
CAP = 3
CLIENTS = 8
DROP_AFTER = 5  # events
PAUSE = 2  # seconds; a connection is dropped while the model makes one


HONEST = {
    "rate_limit": ("the model's rate limit", 429),
    "stall": ("openai.APITimeoutError", 504),
    "time limit": ("TimeoutError", 504),
    "server_error": ("a failure of the model", 502),
    "cut": ("a lost connection to the model", 502),
    "bug": ("a ValueError of the graph", 502),
}


# --- 09.0


async def honest_statuses(answer: Answer) -> str:
    """09.0: turn what a graph raised into the status of a response."""
    async with kitchen(answer, ttft=0.05) as place:
        errors = _failures(place)
        app = FastAPI()

        @app.get("/{kind}")
        async def fail(kind: str) -> None:
            raise refusals[kind]

        refusals = {kind: _refusal(answer, errors[kind]) for kind in errors}
        async with served(app, place) as site:
            for kind in HONEST:
                reply = await site.ask("GET", f"/{kind}")
                _must_be_honest(kind, reply, place)
    return f"{len(HONEST)} failures got 429 with Retry-After 7, 504 or 502"


def _failures(place: Kitchen) -> dict[str, Exception]:
    """What really is raised, by what happened."""
    errors: dict[str, Exception] = {
        "time limit": TimeoutError(),
        "bug": ValueError(f"no such table, {place.model.key}"),
    }
    for fault in "rate_limit", "server_error", "cut", "stall":
        details = {"retry_after": 7} if fault == "rate_limit" else {}
        place.model.fault(fault, **details)
        llm = ChatOpenAI(
            model=place.model.name,
            base_url=place.model.base_url,
            api_key=place.model.key,
            max_retries=0,
            timeout=0.5 if fault == "stall" else None,
            http_client=place.llm.http_client,
        )
        try:
            llm.invoke(WHAT)
        except openai.OpenAIError as error:
            errors[fault] = error
    return errors


def _refusal(answer: Answer, error: Exception) -> HTTPException:
    try:
        value = call(answer, error=error)
    except HTTPException:
        raise Wrong(
            "it raised the HTTPException: return it, the endpoint raises it"
        ) from None
    return expect(value, HTTPException, "an HTTPException")


def _must_be_honest(kind: str, reply: Reply, place: Kitchen) -> None:
    what, status = HONEST[kind]
    if reply.status == 500:
        raise Wrong(
            f"{what} got 500, that of an app that failed: is a header no text?"
        )
    if reply.status != status:
        raise Wrong(f"{what} got {reply.status}, not {status}")
    if place.model.key in reply.text:
        raise Wrong("the client reads the text of the error, and a key in it")
    wait = reply.headers.get("Retry-After")
    if kind == "rate_limit" and wait != "7":
        raise Wrong(
            "429 came without Retry-After"
            if wait is None
            else f"429 came with Retry-After {wait}; the model had said 7"
        )


# --- 09.1


async def says_how_it_ended(answer: Answer) -> str:
    """09.1: turn a graph's answer into events, the last of which is an end."""
    async with kitchen(answer, ttft=0.05) as place:
        _must_generate(answer, place)
        said = {q: place.llm.invoke(q).text for q in (PARAGRAPHS, MARKUP)}
        async with served(_event_app(answer, place), place) as site:
            for question, text in said.items():
                events = await _stream(site, "/agent", question=question)
                if not events or events[-1].event != "done":
                    await _raise_errors(site)
                _must_be_whole(events, text)
            place.model.fault("stall", after_tokens=3, seconds=PAUSE)
            with place.model.meter() as meter:
                await _leave(site, meter, "/agent", tokens=3)
                await _until(lambda: not meter.read().in_flight)
            place.must_be_used(meter, "graph")
            place.model.fault("cut", after_tokens=CUT_AFTER)
            cut = await _stream(site, "/agent")
            tokens = _must_fail(cut, "an answer that was cut")
            if tokens != CUT_AFTER:
                raise Wrong(
                    f"of an answer that was cut after {CUT_AFTER} tokens "
                    f"{tokens} came"
                )
            bug = await _stream(site, "/bug")
            _must_fail(bug, "an answer whose graph raised a ValueError")
    if any(place.model.key in event.data for event in bug):
        raise Wrong("`error` quotes the exception, and a key in it")
    return (
        f"2 answers whole and early, then `done`; 2 failures, one `error` "
        f"each after {tokens} tokens of a cut one"
    )


def _event_app(answer: Answer, place: Kitchen) -> FastAPI:
    """An app with what the answer yields, for a good and a bad graph."""
    app = FastAPI()
    graphs = {"agent": create_agent(place.llm, []), "bug": _with_bug(place)}

    @app.get("/{name}", response_class=EventSourceResponse)
    async def stream(name: str, question: str) -> AsyncIterator[Any]:
        async for event in answer(graphs[name], question):
            yield event

    return app


def _must_generate(answer: Answer, place: Kitchen) -> None:
    value = call(answer, graph=create_agent(place.llm, []), question=WHAT)
    expect(value, AsyncIterator, "an async generator: yield each event")


def _with_bug(place: Kitchen) -> CompiledStateGraph:
    async def reply(state: MessagesState) -> dict[str, Any]:
        return {"messages": await place.llm.ainvoke(state["messages"])}

    async def bug(state: MessagesState) -> None:
        raise ValueError(f"no such table, {place.model.key}")

    graph = StateGraph(MessagesState).add_node(reply).add_node(bug)
    return graph.add_edge(START, "reply").add_edge("reply", "bug").compile()


def _must_be_whole(events: Events, text: str) -> None:
    tokens = [event for event in events if event.event == "token"]
    if not tokens:
        names = {event.event for event in events}
        raise Wrong(
            "no event is called `token`: name each, `event=...`"
            if names <= {"message"}
            else f"no event is called `token`, only {', '.join(names)}"
        )
    came = "".join(map(_text_of, tokens))
    if came != text:
        raise Wrong(f"the text came as {came!r}, not {text!r}")
    last = events[-1]
    if last.event != "done":
        raise Wrong(f"a whole answer ends with `{last.event}`, not `done`")
    if not last.data:
        raise Wrong(
            "`done` has no data, and browsers drop an event without any"
        )
    if _count(events, "done") > 1 or _count(events, "error"):
        raise Wrong("a whole answer has more than one end")


def _text_of(event: httpx2.ServerSentEvent) -> str:
    try:
        text = event.json()["text"]
    except (ValueError, TypeError, KeyError):
        text = None
    if not isinstance(text, str):
        raise Wrong(
            f"the data of a token is {event.data}, not "
            + json.dumps({"text": "…"}, ensure_ascii=False)
        )
    return text


def _must_fail(events: Events, what: str) -> int:
    """There is one `error`, at the end; return how many tokens came."""
    if _count(events, "done"):
        also = " as well as `error`" if _count(events, "error") else ""
        raise Wrong(f"{what} says `done`{also}: only what is whole is done")
    if not _count(events, "error"):
        raise Wrong(
            f"{what} just ends: catch what was raised, and yield `error`"
        )
    if _count(events, "error") > 1 or events[-1].event != "error":
        raise Wrong(f"{what} goes on after `error`")
    if not events[-1].data:
        raise Wrong(
            "`error` has no data, and browsers drop an event without any"
        )
    return _count(events, "token")


def _count(events: Events, name: str) -> int:
    return sum(event.event == name for event in events)


# --- 09.2


async def refuses_the_surplus(answer: Answer) -> str:
    """09.2: stream to so many at once, and refuse the others honestly."""
    async with kitchen(answer, ttft=0.05) as place:
        text = place.llm.invoke(WHAT).text
        place.model.pace(ttft=0.5, per_token=0.1)
        value = call(answer, tokens=_tokens(place), cap=CAP)
        app = expect(value, FastAPI, "the app: write `return app`")
        async with served(app, place) as site:
            with place.model.meter() as meter:
                replies = await _crowd(site, CLIENTS)
            place.must_be_used(meter, "tokens")
            wait = _must_refuse(replies, meter, text)
            place.model.pace(ttft=0.2, per_token=0.02)
            await _all_served(site, "whole answers")
            place.model.fault("cut", after_tokens=2, times=CAP)
            await _crowd(site, CAP)
            await _all_served(site, "answers that failed")
            place.model.fault(
                "stall", after_tokens=2, seconds=PAUSE, times=CAP
            )
            await asyncio.gather(*(_hang_up(site) for _ in range(CAP)))
            await _all_served(site, "clients that hung up")
    return (
        f"{CLIENTS} clients: {CAP} in flight, {CLIENTS - CAP} sent away for "
        f"{wait} s; free again after an end, a failure and a hang-up"
    )


def _tokens(place: Kitchen) -> Callable[[str], AsyncIterator[str]]:
    """A generator function that ends its model call when it is closed."""
    # With a timeout per chunk, Python 3.11 can lose a cancel (gh-86296).
    llm = place.llm.model_copy(update={"stream_chunk_timeout": None})
    agent = create_agent(llm, [])

    async def tokens(question: str) -> AsyncIterator[str]:
        async def pump() -> None:
            asked = {"messages": [("user", question)]}
            async for part, _ in agent.astream(asked, stream_mode="messages"):
                if part.text:
                    queue.put_nowait(part.text)

        queue: asyncio.Queue[Any] = asyncio.Queue()
        run = asyncio.create_task(pump())
        run.add_done_callback(queue.put_nowait)
        try:
            while (part := await queue.get()) is not run:
                yield part
            await run
        finally:
            run.cancel()

    return tokens


async def _crowd(site: Served, number: int) -> list[Reply]:
    asks = (
        site.ask("GET", "/chat", params={"question": WHAT})
        for _ in range(number)
    )
    return await asyncio.gather(*asks)


async def _hang_up(site: Served) -> None:
    await site.hang_up(
        "GET", "/chat", until=lambda text: text, params={"question": WHAT}
    )


def _must_refuse(replies: list[Reply], meter: Meter, text: str) -> str:
    """Look at what a crowd got; return the Retry-After."""
    statuses = Counter(reply.status for reply in replies)
    good = [reply for reply in replies if reply.status == 200]
    refused = [reply for reply in replies if reply.status == 503]
    surplus = CLIENTS - CAP
    if meter.peak_in_flight > CAP:
        raise Wrong(
            f"{meter.peak_in_flight} calls were in flight at the model, not "
            f"{CAP}: a place is taken until the stream has ended"
        )
    if len(good) == CLIENTS and meter.requests == CLIENTS:
        raise Wrong(
            f"nobody was refused: {surplus} of {CLIENTS} clients waited for "
            "a place instead"
        )
    if len(good) == CLIENTS:
        raise Wrong(
            "the surplus got 200, and then nothing: decide before the stream "
            "begins"
        )
    if 429 in statuses:
        raise Wrong(
            "the surplus got 429, which means that this client asks too "
            "often; a full service says 503"
        )
    if statuses != {200: CAP, 503: surplus}:
        raise Wrong(
            f"{CLIENTS} clients got {_listed(statuses)}; expected "
            f"{CAP} x 200 and {surplus} x 503"
        )
    if any(reply.text != text for reply in good):
        raise Wrong(f"a client got {good[0].text!r}, not {text!r}")
    wait = refused[0].headers.get("Retry-After")
    if wait is None:
        raise Wrong("503 came without Retry-After: say when to come again")
    if not wait.isdecimal() or int(wait) < 1:
        raise Wrong(f"Retry-After is {wait!r}, not whole seconds from 1 on")
    return wait


def _listed(statuses: Counter[int]) -> str:
    return ", ".join(f"{n} x {code}" for code, n in sorted(statuses.items()))


async def _all_served(site: Served, after: str) -> None:
    """After ``CAP`` of something there must soon be ``CAP`` places again."""
    for _ in range(4):
        await asyncio.sleep(0.3)
        replies = await _crowd(site, CAP)
        free = sum(reply.status == 200 for reply in replies)
        if free == CAP:
            await asyncio.sleep(0.3)
            return
    raise Wrong(f"after {CAP} {after} there are {free} places, not {CAP}")


# --- 09.3 and 09.4


async def outlives_its_readers(answer: Answer) -> str:
    """09.3: keep the events of a run for readers who come and go."""
    async with kitchen(answer, ttft=0.05) as place:
        return await _nothing_lost(_run_app(answer, place), place, "events")


async def resumes_over_http(answer: Answer) -> str:
    """09.4: the routes around such runs."""
    async with kitchen(answer, ttft=0.05) as place:
        app = call(answer, ask=_asked(place))
        expect(app, FastAPI, "the app: write `return app`")
        return await _nothing_lost(app, place, "ask", routes=True)


async def _nothing_lost(
    app: FastAPI, place: Kitchen, name: str, routes: bool = False
) -> str:
    """Drop a connection and come back; read twice at once; come late."""
    text = place.llm.invoke(WHAT).text
    async with served(app, place) as site:
        if routes:
            await _must_know_its_runs(site)
        place.model.fault("stall", after_tokens=DROP_AFTER, seconds=PAUSE)
        with place.model.meter() as meter:
            run = await _start(site)
            before = await _leave(site, meter, f"/runs/{run}", DROP_AFTER)
            _must_be_numbered(before)
            await asyncio.sleep(PAUSE / 3)  # the app notices that he left
            after = await _stream(site, f"/runs/{run}", before[-1].id)
        place.must_be_used(meter, name)
        _must_continue(before, after, meter, text)
        await _must_take_two_readers(site, text)
        await _must_take_late_readers(site, run, before + after)
    return (
        f"dropped after {len(before)} events, came back for {len(after)}: "
        f"no token lost or doubled, {meter.requests} request"
    )


def _asked(place: Kitchen) -> Callable[[str], AsyncIterator[ServerSentEvent]]:
    """A generator function of events, as the one of task 1."""
    tokens = _tokens(place)

    async def ask(question: str) -> AsyncIterator[ServerSentEvent]:
        async for text in tokens(question):
            yield ServerSentEvent(event="token", data={"text": text})
        yield ServerSentEvent(event="done", data={})

    return ask


def _run_app(answer: Answer, place: Kitchen) -> FastAPI:
    """The app of task 4 around the function of task 3."""
    app, runs, ask = FastAPI(), [], _asked(place)

    @app.post("/runs")
    async def start(question: str) -> dict[str, str]:
        follow = call(answer, events=ask(question))
        runs.append(expect(follow, Callable, "the function `follow`"))
        return {"run": str(len(runs) - 1)}

    @app.get("/runs/{number}", response_class=EventSourceResponse)
    async def read(
        number: int, last_event_id: Annotated[int, Header()] = 0
    ) -> AsyncIterator[Any]:
        words = "the function `follow`: is it an `async def` with `yield`?"
        events = runs[number](last_event_id)
        async for event in expect(events, AsyncIterator, words):
            yield event

    return app


async def _must_know_its_runs(site: Served) -> None:
    reply = await site.ask("GET", "/runs/nobody")
    if reply.status == 200:
        raise Wrong(
            "an unknown run got 200, not 404: a generator begins after the "
            "status has gone out"
        )
    if reply.status not in (404, 422):  # 422 if ids are numbers
        raise Wrong(f"an unknown run got {reply.status}, not 404")


async def _start(site: Served) -> str:
    reply = await site.ask("POST", "/runs", params={"question": WHAT})
    if reply.status >= 500:
        await _raise_errors(site)
    try:
        run = json.loads(reply.text)["run"]
    except (ValueError, TypeError, KeyError):
        run = None
    if not isinstance(run, str | int) or reply.status >= 300:
        shown = " ".join(reply.text.split())[:60]
        raise Wrong(
            f"POST /runs got {reply.status} and {shown}, not "
            + json.dumps({"run": "…"}, ensure_ascii=False)
        )
    return str(run)


def _must_be_numbered(events: Events) -> None:
    ids = [event.id for event in events[:DROP_AFTER]]
    if not any(ids):
        raise Wrong("the events have no `id`: nobody can say what he has seen")
    if ids != [str(number + 1) for number in range(DROP_AFTER)]:
        raise Wrong(f"the first ids are {', '.join(ids)}, not 1 to 5")


def _must_continue(
    before: Events, after: Events, meter: Meter, text: str
) -> None:
    if meter.requests > 1:
        raise Wrong(
            f"the model was asked {meter.requests} times for one run: only "
            "POST /runs may start one"
        )
    if not after:
        raise Wrong(
            "who came back got nothing: the run must not end with its reader"
        )
    seen, first = before[-1].id, after[0].id
    if after[0].event == "token" and first != str(int(seen) + 1):
        raise Wrong(
            f"after Last-Event-ID {seen} came event {first}, not "
            f"{int(seen) + 1}"
        )
    _must_be_all(before + after, text, "both connections together")


def _must_be_all(events: Events, text: str, what: str) -> None:
    tokens = [event for event in events if event.event == "token"]
    came = "".join(map(_text_of, tokens))
    if came != text:
        raise Wrong(f"{what} got {came!r}, not {text!r}")
    if events[-1].event != "done":
        raise Wrong(f"a run ends with `{events[-1].event}`, not `done`")
    if not events[-1].data:
        raise Wrong(
            "`done` has no data, and browsers drop an event without any"
        )


async def _must_take_two_readers(site: Served, text: str) -> None:
    run = await _start(site)
    both = await asyncio.gather(
        *(_stream(site, f"/runs/{run}") for _ in range(2))
    )
    if sum(_count(events, "token") for events in both) == 14:
        raise Wrong(
            "each token went to one of two readers: a list keeps it for all, "
            "a queue does not"
        )
    for events in both:
        _must_be_all(events, text, "a second reader")


async def _must_take_late_readers(
    site: Served, run: str, events: Events
) -> None:
    whole = await _stream(site, f"/runs/{run}")
    if whole != events:
        raise Wrong(
            f"who comes after the end gets {len(whole)} of {len(events)} "
            "events"
        )
    nothing = await _stream(site, f"/runs/{run}", events[-1].id)
    if _count(nothing, "token"):
        raise Wrong("who has seen everything gets tokens again")


# --- shared


async def _stream(
    site: Served, path: str, seen: str = "", question: str = WHAT
) -> Events:
    """Read all that an SSE endpoint sends, over a connection of its own."""
    headers = {"Connection": "close"}
    if seen:
        headers["Last-Event-ID"] = seen
    params = {"question": question}
    reply = await site.ask("GET", path, headers=headers, params=params)
    return _parsed(reply.text)


async def _leave(site: Served, meter: Meter, path: str, tokens: int) -> Events:
    """Hang up after so many tokens; the model must pause there, not end."""
    writes = False

    def enough(text: str) -> bool:
        nonlocal writes
        if _count(_parsed(text), "token") < tokens:
            return False
        writes = meter.read().in_flight > 0
        return True

    params = {"question": WHAT}
    text = await site.hang_up("GET", path, until=enough, params=params)
    events = _parsed(text)
    if _count(events, "token") < tokens:
        await _raise_errors(site)
        raise Wrong(f"{_count(events, 'token')} events called `token` came")
    if meter.requests and not writes:
        raise Wrong(
            "nothing was streamed: the model had finished before token "
            f"{tokens} came"
        )
    return events


def _parsed(text: str) -> Events:
    response = httpx2.Response(
        200,
        headers={"Content-Type": "text/event-stream"},
        text=text,
        request=httpx2.Request("GET", "http://app"),
    )
    return list(httpx2.EventSource(response))


async def _raise_errors(site: Served) -> None:
    """Raise what the answer raised in its app, once its response is over."""
    await _until(lambda: bool(site.errors), seconds=0.5)
    for error in site.errors:
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        raise error


async def _until(
    condition: Callable[[], bool], seconds: float = PATIENCE
) -> None:
    """Wait until it is true, but no longer than so many seconds."""
    for _ in range(int(seconds * 20)):
        if condition():
            return
        await asyncio.sleep(0.05)


JUDGES = {
    "09.0": honest_statuses,
    "09.1": says_how_it_ended,
    "09.2": refuses_the_surplus,
    "09.3": outlives_its_readers,
    "09.4": resumes_over_http,
}
