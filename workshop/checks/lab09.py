"""Judge the check of lesson 09 and the three tasks of lab 09."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import httpx2
from fastapi import FastAPI
from fastapi.sse import ServerSentEvent
from langchain_core.messages import ToolMessage
from langgraph.graph import MessagesState

from workshop.checks.http import Served, served
from workshop.checks.kit import (
    AWKWARD_TOKENS,
    LATE,
    PAUSE,
    WAYS_TO_LEAVE,
    Play,
    Reader,
    ScriptedModel,
    Watch,
    Wrong,
    call,
    chain,
    count,
    depends_on,
    expect,
    failures,
    file_of,
    leave,
    name_of,
    settled,
    some_time_later,
    start,
    stop,
    stream_of,
    together,
    turns,
    until,
)

Answer = Callable[..., Any]

SECRET = "sk-no-one-may-read-this"
PRICE = "the tool says 9 euros"
GENERATOR = "an async generator: `yield` each event"
NO_DATA = "`{}` has no data, and browsers drop an event without any"


# --- 09.0

ENDINGS = {
    "complete": (["token", "token", "done"], ["done"], ["tool", "done"]),
    "failed": (["token", "error"], ["error"], ["token"] * 9 + ["error"]),
    "cut": (["token"], [], ["token", "token"], ["start", "tool"]),
}


async def says_how_it_ended(answer: Answer) -> str:
    """09.0: tell a whole answer from a failed one and a cut one."""
    told = 0
    for ending, lists in ENDINGS.items():
        for names in lists:
            try:
                said = call(answer, names=list(names))
            except IndexError:
                raise Wrong(
                    f"for {names} it raised IndexError: a stream may be cut "
                    "before its first event"
                ) from None
            if inspect.iscoroutine(said):
                said.close()
                raise Wrong("it is a plain `def`: nothing is awaited")
            if expect(said, str, "a text") != ending:
                raise Wrong(f"for {names} it said {said!r}, not {ending!r}")
            told += 1
    return f"{told} streams: complete, failed or cut, each told from its end"


# --- 09.1


async def ends_with_an_event(answer: Answer) -> str:
    """09.1: turn a graph's answer into events, the last of which is an end."""
    awkward = [*AWKWARD_TOKENS[:3], PAUSE, *AWKWARD_TOKENS[3:]]
    await together(
        _whole_answer(answer, "soup", awkward),
        _whole_answer(answer, "tea", ["Tea", PAUSE, " for two"]),
    )
    await _whole_answer(answer, "nothing", [PAUSE, ""])
    errors = {**failures(), "a time limit": TimeoutError()}
    for error in errors.values():
        error.args, error.message = (SECRET,), SECRET
    for what, error in errors.items():
        for script in (["Soup", " of", error], [error]):
            await _failed_answer(answer, what, script)
    for script in (["Soup", PAUSE, " of the day"], [PAUSE, "Soup"]):
        for by in WAYS_TO_LEAVE:
            if by != "aclose" or script[0] is not PAUSE:
                await _ends_with_its_reader(answer, by, script)
    return (
        f"2 answers whole and early, then `done`; {len(errors)} "
        "failures, one `error` each; who leaves ends it"
    )


def _events_of(answer: Answer, model: ScriptedModel, question: str) -> Any:
    """The events of a graph: a tool's result first, then an answer."""

    async def tools(state: MessagesState) -> dict[str, Any]:
        return {"messages": [ToolMessage(PRICE, tool_call_id="1")]}

    async def ask(state: MessagesState) -> dict[str, Any]:
        asked = [m for m in state["messages"] if m.type == "human"]
        return {"messages": [await model.ainvoke(asked)]}

    graph = chain({"tools": tools, "ask": ask})
    return stream_of(answer, GENERATOR, graph=graph, question=question)


async def _whole_answer(
    answer: Answer, question: str, script: list[Any]
) -> None:
    """Its tokens early and as they are, then one end."""
    model = ScriptedModel(script=lambda a: script if a == question else ["?"])
    reader = Reader(_events_of(answer, model, question))
    before = script.index(PAUSE)
    await model.waits_for(1, reader.task)
    early = await reader.has(before)
    await some_time_later()
    await model.finish([], reader.task)
    await reader.must_end("it never ends")
    model.must_be_used("graph")
    events = reader.parts
    if not early and len(events) > 1:
        raise Wrong(LATE)
    if len(model.calls) > 1:
        raise Wrong(f"the model was asked {len(model.calls)} times")
    names = [_name(event) for event in events]
    tokens = [part for part in script if part not in (PAUSE, "")]
    if tokens and "token" not in names:
        others = ", ".join(dict.fromkeys(names))
        raise Wrong(f"no event is called `token`, only {others}")
    came = [_text_of(event) for event in events if event.event == "token"]
    if PRICE in "".join(came):
        raise Wrong("what a tool returned was sent as a piece of the answer")
    if [text for text in came if text] != tokens:
        raise Wrong(f"the pieces {tokens} came as {came}")
    if names[-1:] != ["done"]:
        end = f"`{names[-1]}`" if names else "nothing"
        raise Wrong(f"a whole answer ends with {end}, not `done`")
    if names.count("done") > 1 or "error" in names:
        raise Wrong("a whole answer has more than one end")
    if _data(events[-1]) is None:
        raise Wrong(NO_DATA.format("done"))


def _name(event: Any) -> str:
    if not isinstance(event, ServerSentEvent):
        raise Wrong(f"it yields a {name_of(event)}, not a ServerSentEvent")
    return event.event or "message"


def _data(event: ServerSentEvent) -> Any:
    """The data as a client parses it; None if there is none."""
    if event.data is not None:
        return json.loads(json.dumps(event.data))
    try:
        return json.loads(event.raw_data) if event.raw_data else None
    except ValueError:
        return event.raw_data


def _text_of(event: ServerSentEvent) -> str:
    data = _data(event)
    text = data.get("text") if isinstance(data, dict) else None
    if not isinstance(text, str):
        raise Wrong(
            f"the data of a token is {json.dumps(data)}, not "
            + json.dumps({"text": "…"}, ensure_ascii=False)
        )
    return text


async def _failed_answer(answer: Answer, what: str, script: list[Any]) -> None:
    reader = Reader(
        _events_of(answer, ScriptedModel(script=lambda _: script), "soup")
    )
    try:
        await reader.must_end(f"an answer with {what} never ends")
    except type(script[-1]):
        raise Wrong(
            f"an answer with {what} just ends: catch what was raised, "
            "and yield `error`"
        ) from None
    names = [_name(event) for event in reader.parts]
    if "done" in names:
        also = " as well as `error`" if "error" in names else ""
        raise Wrong(
            f"an answer with {what} says `done`{also}: only what is "
            "whole is done"
        )
    if names[-1:] != ["error"] or names.count("error") > 1:
        raise Wrong(f"an answer with {what} has no `error`, once, at its end")
    tokens = len(script) - 1
    if names.count("token") != tokens:
        raise Wrong(
            f"of an answer that failed after {count(tokens, 'token')} "
            f"{names.count('token')} came"
        )
    error = reader.parts[-1]
    if _data(error) is None:
        raise Wrong(NO_DATA.format("error"))
    if SECRET in error.model_dump_json():
        raise Wrong("`error` quotes the exception, and a key in it")


async def _ends_with_its_reader(
    answer: Answer, by: str, script: list[Any]
) -> None:
    """At a piece and before the first; its run is cut off, too."""
    model = ScriptedModel(script=lambda _: script)
    stream = _events_of(answer, model, "soup")

    def now(_: object) -> bool:
        return any(call.waiting for call in model.running)

    try:
        if by != "cancel":
            await leave(stream, len if by == "aclose" else now, by)
            return
        reader = Reader(stream)
        await until(lambda: now(0) or reader.done())
        await turns()
        before = len(reader.parts)
        await stop(reader.task)
        if reader.done() and not reader.task.cancelled():
            raise Wrong("its reader was cancelled, and it swallowed that")
        await model.idle()
        model.must_be_idle("its reader was cancelled")
    except RuntimeError as error:
        raise Wrong(
            f"its reader closed it, and it yielded once more: {error}"
        ) from None
    finally:
        model.release()
    if len(reader.parts) > before:
        raise Wrong("its reader was cancelled, and it yielded once more")


# --- 09.2


def _script(*names: str) -> list[ServerSentEvent]:
    return [
        ServerSentEvent(event="token", data={"text": name}) for name in names
    ]


def _done() -> ServerSentEvent:
    return ServerSentEvent(event="done", data={}, id="its own")


async def outlives_its_readers(answer: Answer) -> str:
    """09.2: keep the events of a run for readers who come and go."""
    one = [*_script("a", "a", "", "\n\n"), PAUSE, *_script("b")]
    one += [PAUSE, _done()]
    two = [*_script("x"), PAUSE, *_script("y", "z"), _done()]
    plays = [Play(one), Play(two)]
    follows = [_started(answer, play) for play in plays]
    await settled(lambda: plays[0].sent, lambda: plays[0].waiting)
    if not plays[0].waiting:
        raise Wrong("without a reader nothing was read: start a task")
    # who reads the other run waits meanwhile
    waiting = Reader(_follow(follows[1], 0))
    await _readers_of_three_kinds(plays[0], follows[0])
    await _must_be_kept(plays[1], follows[1])
    await stop(waiting.task)
    long = Play(_script(*map(str, range(1500))))
    await _must_be_kept(long, _started(answer, long))
    for error in (KeyError("dish"), asyncio.CancelledError()):
        await _fails(answer, error)
    return (
        f"{len(_events(plays[0]))} events, none lost or doubled: for who "
        "stays, who comes back and who comes late"
    )


def _events(play: Play) -> list[ServerSentEvent]:
    return [part for part in play.parts if part is not PAUSE]


def _started(answer: Answer, play: Play) -> Callable[..., Any]:
    follow = call(answer, events=play.stream())
    return expect(follow, Callable, "the function `follow`")  # type: ignore[arg-type]


def _follow(follow: Callable[..., Any], seen: int) -> AsyncIterator[Any]:
    value = follow(seen)
    if not hasattr(value, "__aiter__"):
        if inspect.iscoroutine(value):
            value.close()
        raise Wrong(
            f"follow({seen}) returned a {name_of(value)}, not an async "
            "generator: is `follow` an `async def` with `yield`?"
        )
    return value


async def _readers_of_three_kinds(
    play: Play, follow: Callable[..., Any]
) -> None:
    there = play.sent
    stays, another = Reader(_follow(follow, 0)), Reader(_follow(follow, 1))
    if not await stays.has(1):
        raise Wrong(LATE)
    all_of_them = await stays.has(there)
    _must_be_numbered(stays.parts[:there], 1)
    if not all_of_them or not await another.has(there - 1):
        raise Wrong("each event went to one of two readers, not to both")
    for by in WAYS_TO_LEAVE:
        await leave(_follow(follow, 2), len, by)
    waits = Reader(_follow(follow, there))
    if await waits.has(1, still=10):
        first = waits.parts[0]
        raise Wrong(f"who has seen {there} events gets number {first.id}")
    slow = aiter(_follow(follow, there - 1))
    await anext(slow)
    await some_time_later()
    play.release(1)
    came = await waits.has(1)
    if play.outcome == "cut off":
        raise Wrong("a reader left, and the run ended with it")
    if not came:
        raise Wrong("an event came, and who waited for it did not get it")
    late = Reader(slow)
    if not await late.has(1):
        raise Wrong("who was busy when an event came waits, and it is there")
    play.release()
    readers = {stays: 0, another: 1, waits: there, late: there}
    for reader, seen in readers.items():
        await reader.must_end("the run has ended, and a reader waits on")
        _must_equal(reader, play, seen)
    await _must_be_kept(play, follow)


def _must_be_numbered(events: Sequence[Any], first: int) -> None:
    ids = [event.id for event in events]
    if ids and not any(ids):
        raise Wrong("the events have no `id`: nobody can say what he has seen")
    if ids != [str(number) for number in range(first, first + len(ids))]:
        raise Wrong(
            f"after number {first - 1} come the ids {', '.join(map(str, ids))}"
        )


def _must_equal(reader: Reader, play: Play, seen: int) -> None:
    got, events = reader.parts, _events(play)[seen:]
    if len(got) != len(events):
        raise Wrong(
            f"who has seen {count(seen, 'event')} got {len(got)} more, not "
            f"{len(events)}"
        )
    for came, event in zip(got, events, strict=True):
        if (came.event, _data(came)) != (event.event, _data(event)):
            raise Wrong(
                f"`{event.event}` {_data(event)} came as `{came.event}` "
                f"{_data(came)}"
            )
    _must_be_numbered(got, seen + 1)


async def _must_be_kept(play: Play, follow: Callable[..., Any]) -> None:
    """After its end: from the beginning, from the middle, from the end."""
    await play.finish()
    for seen in (0, 2, len(_events(play))):
        reader = Reader(_follow(follow, seen))
        await reader.must_end(
            f"who comes after the end, and has seen {seen} of "
            f"{len(_events(play))}, waits for ever"
        )
        _must_equal(reader, play, seen)


async def _fails(answer: Answer, error: BaseException) -> None:
    """A source that fails ends its readers, too, and is kept as well."""
    play = Play([*_script("a"), PAUSE, error])
    follow = _started(answer, play)
    for _ in range(2):  # the second one comes after the end
        reader = Reader(_follow(follow, 0))
        await reader.has(1)
        play.release()
        await settled(lambda: play.sent, reader.done)
        if not reader.done():
            raise Wrong("the run has failed, and a reader waits on")
        if reader.task.cancelled() or reader.task.exception():
            raise Wrong("the run has failed, and `follow` raised that")
        if [event.id for event in reader.parts[:1]] != ["1"]:
            raise Wrong("a run failed, and the events before that are lost")


# --- 09.3


async def resumes_over_http(answer: Answer) -> str:
    """09.3: the routes around such runs."""
    await depends_on(answer, "start_run", outlives_its_readers, "task 2")
    probes = _nothing_lost, _own_runs
    said, _ = await together(*(_with_an_app(answer, p) for p in probes))
    return said


async def _with_an_app(answer: Answer, probe: Callable[..., Any]) -> Any:
    plays: list[Play] = []

    def ask(question: str) -> AsyncIterator[ServerSentEvent]:
        early = _script("a", "b", "c", "d", "e")
        play = Play([*early, PAUSE, *_script(question, "g"), _done()])
        plays.append(play)
        return play.stream()

    app = expect(call(answer, ask=ask), FastAPI, "the app: `return app`")
    async with served(app, Watch(file_of(answer))) as site:
        try:
            return await probe(site, plays)
        finally:
            for play in plays:
                play.release()


async def _own_runs(site: Served, plays: list[Play]) -> None:
    """A second app begins without a run, and asks what it was given."""
    run = await _start(site, "tea")
    if len(plays) != 1:
        raise Wrong("a second app did not call its own `ask`")
    plays[0].release()
    events = await _stream(site, run, "")
    if len(events) != 8:
        raise Wrong(f"a run of a second app has {len(events)} events, not 8")


async def _nothing_lost(site: Served, plays: list[Play]) -> str:
    for run in ("nobody", "0"):
        reply = await site.ask("GET", f"/runs/{run}")
        if reply.status not in (404, 422):  # 422 if ids are numbers
            why = ": a generator begins after the status has gone out"
            raise Wrong(
                f"an unknown run got {reply.status}, not 404"
                + (why if reply.status == 200 else "")
            )
    questions = ["soup", "soup", "tea"]
    runs = [await _start(site, question) for question in questions]
    if len(set(runs)) < 3:
        raise Wrong("two runs have the same id")
    if [play.parts[6].data["text"] for play in plays] != questions:
        raise Wrong(
            f"3 POST /runs called `ask` {len(plays)} times: each starts one "
            "run, with its question"
        )
    run, _, tea = runs
    before = await _drop(site, run)
    if _ids(before) != ["1", "2", "3", "4", "5"]:
        raise Wrong(
            f"it sent the events {', '.join(_ids(before))}, not 1 to 5"
        )
    if plays[0].outcome == "cut off":
        raise Wrong("the run ended with its reader")
    for play in plays:
        play.release()
    for seen in ("5", "2", ""):
        after = await _stream(site, run, seen)
        number = int(seen or 0)
        expected = [str(n) for n in range(number + 1, 9)]
        if _ids(after) != expected:
            raise Wrong(
                f"after Last-Event-ID {seen or 'none'} came the events "
                f"{', '.join(_ids(after)) or 'none'}, not {expected[0]} to 8"
            )
    whole = "".join(e.json()["text"] for e in after if e.event == "token")
    if whole != "abcdesoupg" or after[-1].event != "done":
        raise Wrong(f"a run of 'soup' got {whole!r} and `{after[-1].event}`")
    theirs = await _stream(site, tea, "5")
    if [e.json().get("text") for e in theirs] != ["tea", "g", None]:
        raise Wrong("a run got the events of another one")
    if len(plays) > 3:
        raise Wrong("the model was asked again to read a run")
    return (
        f"dropped after {len(before)} events, came back for 3: nothing lost "
        "or doubled, 3 runs for 3 POSTs"
    )


async def _start(site: Served, question: str) -> str:
    given = {"params": {"question": question}, "patient": True}
    asking = start(site.ask("POST", "/runs", **given))
    await settled(asking.done, asking.done)
    for _ in range(20):  # others are served meanwhile
        if not asking.done():
            await site.ask("GET", "/ping")
    if not asking.done():
        raise Wrong("POST /runs waits for the run: start it, and return")
    reply = asking.result()
    if reply.status >= 500:
        await until(lambda: site.errors, 50)
        for error in site.errors:
            if "no running event loop" in str(error):
                raise Wrong(
                    "no running event loop: FastAPI runs a `def` endpoint in "
                    "a thread, so write `async def`"
                )
            raise error
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


async def _drop(site: Served, run: str) -> list[httpx2.ServerSentEvent]:
    """Read five events, and close the connection."""
    text = await site.hang_up(
        "GET", f"/runs/{run}", lambda text: len(_parsed(text)) >= 5
    )
    if not _parsed(text):
        await until(lambda: site.errors, 20)
        for error in site.errors:
            raise error
        raise Wrong("nothing was streamed: no event came while it runs")
    return _parsed(text)


async def _stream(
    site: Served, run: str, seen: str
) -> list[httpx2.ServerSentEvent]:
    headers = {"Connection": "close"}
    if seen:
        headers["Last-Event-ID"] = seen
    reply = await site.ask("GET", f"/runs/{run}", headers=headers)
    if reply.status != 200:
        raise Wrong(f"who came back got {reply.status}, not 200")
    return _parsed(reply.text)


def _ids(events: list[httpx2.ServerSentEvent]) -> list[str]:
    return [event.id or "?" for event in events]


def _parsed(text: str) -> list[httpx2.ServerSentEvent]:
    response = httpx2.Response(
        200,
        headers={"Content-Type": "text/event-stream"},
        text=text,
        request=httpx2.Request("GET", "http://app"),
    )
    return list(httpx2.EventSource(response))


JUDGES = {
    "09.0": says_how_it_ended,
    "09.1": ends_with_an_event,
    "09.2": outlives_its_readers,
    "09.3": resumes_over_http,
}
