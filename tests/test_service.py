"""What the lessons promise of the finished service, on real sockets."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import AIMessage
from pydantic import ValidationError

from tests import service_place
from tests.service import SOLUTIONS, Client, events_of, text_of, until
from tests.service_place import LONG, NAME, PRICE
from workshop.model import Meter, Model, practice_model
from workshop.serve import serve

sys.path.insert(0, str(SOLUTIONS))
from service.app import create_app
from service.model import open_model
from service.runs import Runs
from service.settings import Settings, in_one_line

pytestmark = pytest.mark.timeout(240)  # a server's start among others

store = service_place.store


class Place:
    """A service on the test's own loop, its model and a client."""

    def __init__(self, model: Model, client: Client, runs: Runs) -> None:
        self.model = model
        self.client = client
        self.runs = runs

    async def idle(self) -> None:
        await until(lambda: not self.runs.runs)


@asynccontextmanager
async def place(
    db: str, base_url: str = "", **settings: Any
) -> AsyncIterator[Place]:
    model = practice_model()
    model.pace(ttft=0.1, per_token=0.03)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_BASE_URL", base_url or model.base_url)
        patch.setenv("OPENAI_API_KEY", model.key)
        app = create_app(Settings(**{"db": db} | settings))
        site = serve(app)
        async with site as url, Client(base_url=url, timeout=60) as client:
            await client.get("/threads")  # from now on it is somebody
            yield Place(model, client, app.state.runs)
    assert site.errors == []


@pytest.fixture
def at(store: tuple[str, Any]) -> Any:
    """Open a place with these settings: `async with at(max_runs=3)`."""
    return lambda **settings: place(store[0], **settings)


def cut_off_soon(meter: Meter, seen: int) -> bool:
    """Whether the model was stopped within a few tokens of the last seen."""
    meter.read()
    return meter.cut_off == 1 and meter.tokens_sent <= seen + 8


# --- one answer


async def test_an_answer_is_events_in_order(at) -> None:
    async with at() as p:
        events = await p.client.ask(PRICE)
    assert [event.number for event in events] == [*range(1, len(events) + 1)]
    names = [event.name for event in events]
    tokens = names.count("token")
    assert names == ["start", "tool", *["token"] * tokens, "done"]
    assert events[-1].data == {"outcome": "complete", "tokens": tokens}
    assert text_of(events).endswith("euros 9.")


async def test_it_streams(at) -> None:
    async with at() as p:
        meter = p.model.meter()
        async with p.client.asking(LONG) as response:
            async for event in events_of(response):
                if event.name == "token":
                    break
            assert 0 < meter.read().tokens_sent < 20
        assert meter.in_flight == 1


async def test_a_thread_remembers(at) -> None:
    async with at() as p:
        first = await p.client.ask("Who are you?")
        await p.client.ask(PRICE)
        said = await p.client.said()
        assert said[:3] == ["Who are you?", text_of(first), PRICE]
        assert await p.client.said("another") == []


@pytest.mark.parametrize(
    "text",
    ["a\n\ndata: x\n\nevent: done", "<script>1</script>", "\u2028\r\\n"],
)
async def test_text_arrives_as_it_is(at, text: str) -> None:
    """Nothing in a text can end an event or begin another one."""
    async with at() as p:
        model_says(p, [text, "x"])
        events = await p.client.ask(PRICE)
        assert text_of(events) == text + "x"
        assert [event.name for event in events][-1] == "done"
        assert (await p.client.said())[-1] == text + "x"


async def test_a_model_that_cannot_stream_answers_in_one_piece(at) -> None:
    async with at() as p:
        model_says(p, ["all ", "at ", "once"], streams=False)
        events = await p.client.ask(PRICE)
        assert [event.name for event in events] == ["start", "token", "done"]
        assert text_of(events) == "all at once"


async def test_a_model_tagged_nostream_is_not_heard(at) -> None:
    """As LangGraph's own `messages` mode has it."""
    async with at() as p:
        for streams in True, False:
            model_says(p, ["a ", "secret"], streams, tags=["nostream"])
            events = await p.client.ask(PRICE, f"t{streams:d}")
            assert [event.name for event in events] == ["start", "done"]


def agent_with(tools: list[Any], **options: Any) -> Any:
    """What SERVICE_AGENT may name: an agent with other tools."""

    @asynccontextmanager
    async def open_agent(settings: Settings) -> AsyncIterator[Any]:
        async with open_model(settings) as llm:
            yield create_agent(llm, tools, **options)

    return open_agent


def model_says(
    place: Place, pieces: list[str], streams: bool = True, **more: Any
) -> None:
    """Let the agent answer with these tokens, without its model."""
    from langchain_core.language_models import GenericFakeChatModel
    from langchain_core.messages import AIMessage

    class Scripted(GenericFakeChatModel):
        disable_streaming: bool = not streams

        def _stream(self, *args: Any, **kwargs: Any) -> Any:
            from langchain_core.messages import AIMessageChunk
            from langchain_core.outputs import ChatGenerationChunk

            for piece in pieces:
                chunk = AIMessageChunk(piece)
                yield ChatGenerationChunk(message=chunk)

        def bind_tools(self, *args: Any, **kwargs: Any) -> Any:
            return self

    model = Scripted(messages=iter([AIMessage("".join(pieces))]), **more)
    place.runs.agent = create_agent(model, [])


# --- how it ended


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ({"kind": "length", "after_tokens": 5}, "length"),
        ({"kind": "content_filter", "after_tokens": 5}, "filtered"),
        ({"kind": "refusal"}, "refused"),
    ],
    ids=["length", "filtered", "refused"],
)
async def test_complete_is_what_the_model_called_so(
    at, fault: dict[str, Any], outcome: str
) -> None:
    async with at() as p:
        p.model.fault(**fault)
        events = await p.client.ask(NAME)
        assert events[-1].name == "done"
        assert events[-1].data["outcome"] == outcome
        assert text_of(events)
        thread = (await p.client.get("/threads/t")).json()
        assert thread["messages"][1] == {
            "role": "assistant",
            "text": text_of(events),
            "outcome": outcome,
        }
        assert (await p.client.ask(NAME))[-1].data["outcome"] == "complete"


@pytest.mark.parametrize("kind", ["no_done", "error_event", "cut"])
async def test_what_breaks_off_is_not_complete(at, kind: str) -> None:
    async with at() as p:
        p.model.fault(kind, after_tokens=4, times=3)
        events = await p.client.ask(NAME)
        assert events[-1].name == "error"
        assert events[-1].data["code"] == "model_error"
        assert text_of(events)
        assert await p.client.said() == [NAME, text_of(events)]
        p.model.pace(ttft=0)
        while (await p.client.ask(NAME, "later"))[-1].name == "error":
            pass  # what is left of the faults
        assert (await p.client.ask(NAME))[-1].name == "done"


async def test_a_length_within_a_call_breaks_nothing(at) -> None:
    async with at() as p:
        p.model.fault("length", after_tokens=1)
        answer = await p.client.post(
            "/threads/t/runs", json={"message": PRICE}
        )
        assert answer.status_code in (200, 502)
        assert (await p.client.ask(NAME))[-1].data["outcome"] == "complete"


@pytest.mark.parametrize("kind", ["unknown_tool", "doubled_name"])
async def test_a_strange_call_breaks_nothing(at, kind: str) -> None:
    async with at() as p:
        p.model.fault(kind)
        answer = await p.client.post(
            "/threads/t/runs", json={"message": PRICE}
        )
        assert answer.status_code in (200, 502)
        assert (await p.client.ask(NAME))[-1].data["outcome"] == "complete"


async def test_a_model_that_thinks_is_alive(at) -> None:
    async with at(first_token_timeout=1) as p:
        p.model.fault("reasoning", seconds=3)
        events = await p.client.ask(NAME)
        names = [event.name for event in events]
        assert names[:3] == ["start", "thinking", "token"]
        assert events[-1].data["outcome"] == "complete"


async def test_only_what_is_begun_again_is_taken_back(at) -> None:
    """Text, a tool's call, and then the connection breaks."""

    class Speaks(AgentMiddleware):
        def before_model(self, state: Any, runtime: Any) -> Any:
            if len(state["messages"]) == 1:
                return {"messages": [AIMessage("I look. ")]}
            return None

    agent = agent_with([], middleware=[Speaks()])
    async with at(agent=agent) as p:
        p.model.fault("cut", after_tokens=3)
        events = await p.client.ask(NAME)
        names = [event.name for event in events]
        assert names.count("restart") == 1
        after = events[names.index("restart") + 1]
        assert after.data["text"] == "I look. "
        assert text_of(events).startswith("I look. ")
        assert text_of(events).count("I look.") == 1
        assert "".join((await p.client.said())[1:]) == text_of(events)


# --- many clients


async def test_fifty_at_once_and_the_loop_stays_free(at) -> None:
    async with at() as p:
        meter = p.model.meter()
        p.model.pace(ttft=3)  # so that all of them wait at the same time
        asked = asyncio.gather(
            *(p.client.ask(LONG, f"t{n}") for n in range(50))
        )
        pings = 0
        while not asked.done():
            pings += (await p.client.get("/health")).json()["runs"] == 50
            await asyncio.sleep(0.05)
        texts = {text_of(events) for events in await asked}
        assert len(texts) == 1
        assert meter.read().peak_in_flight == 50
        assert pings > 0
        await p.idle()


async def test_the_surplus_is_told_when_to_come_back(at) -> None:
    async with at(max_runs=3) as p:
        meter = p.model.meter()
        answers = await asyncio.gather(
            *(
                p.client.post(f"/threads/{n}/runs", json={"message": PRICE})
                for n in range(8)
            )
        )
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses == [200] * 3 + [503] * 5
        assert meter.read().peak_in_flight == 3
        for answer in answers:
            if answer.status_code == 503:
                assert int(answer.headers["Retry-After"]) >= 1
        assert (await p.client.ask(PRICE, "later"))[-1].name == "done"


async def test_one_run_a_thread(at) -> None:
    async with at() as p:
        run, _ = await p.client.ask_and_leave(LONG, 3)
        again = await p.client.post("/threads/t/runs", json={"message": "x"})
        assert again.status_code == 409
        assert (await p.client.get("/threads/t")).json()["run"] == run
        await p.client.delete(f"/runs/{run}")
        assert (await p.client.get("/threads/t")).json()["run"] is None
        await p.client.ask(PRICE)


# --- leaving, coming back, stopping


async def test_who_leaves_for_good_stops_the_model(at) -> None:
    async with at(resume_grace=0) as p:
        meter = p.model.meter()
        _, seen = await p.client.ask_and_leave(LONG, 10)
        await p.idle()
        assert cut_off_soon(meter, len(seen))


async def test_who_leaves_before_the_first_token_stops_the_model(at) -> None:
    async with at(resume_grace=0) as p:
        p.model.pace(ttft=30)
        meter = p.model.meter()
        asking = asyncio.create_task(p.client.ask(LONG))
        await until(lambda: meter.read().in_flight == 1)
        asking.cancel()
        await asyncio.wait([asking])
        await p.idle()
        assert (meter.read().cut_off, meter.tokens_sent) == (1, 0)
        assert await p.client.said() == []


async def test_who_comes_back_gets_the_rest_and_nothing_twice(at) -> None:
    async with at() as p:
        meter = p.model.meter()
        run, seen = await p.client.ask_and_leave(LONG, 10)
        await asyncio.sleep(0.3)
        seen += await p.client.resume(run, seen[-1].number)
        assert [e.number for e in seen] == [*range(1, len(seen) + 1)]
        assert seen[-1].data["outcome"] == "complete"
        assert (meter.read().requests, meter.cut_off) == (1, 0)
        assert (await p.client.said())[-1] == text_of(seen)


async def test_it_does_not_wait_for_ever(at) -> None:
    async with at(resume_grace=0.5) as p:
        p.model.pace(per_token=0.1)
        meter = p.model.meter()
        run, seen = await p.client.ask_and_leave(LONG, 10)
        await p.idle()
        assert meter.read().cut_off == 1
        rest = await p.client.resume(run, seen[-1].number)
        assert rest[-1].data["outcome"] == "left"
        assert (await p.client.said())[-1] == text_of(seen + rest)


async def test_two_readers_see_the_same(at) -> None:
    async with at() as p:
        async with p.client.asking(LONG) as response:
            stream = events_of(response)
            first = [await anext(stream)]
            other = asyncio.create_task(
                p.client.resume(response.headers["X-Run-Id"], 0)
            )
            first += [event async for event in stream]
        assert await other == first


async def test_a_stop_keeps_what_was_seen(at) -> None:
    async with at() as p:
        meter = p.model.meter()
        async with p.client.asking(LONG) as response:
            stream = events_of(response)
            seen = [await anext(stream) for _ in range(10)]
            run = response.headers["X-Run-Id"]
            stopped = await p.client.delete(f"/runs/{run}")
            assert stopped.status_code == 204
            seen += [event async for event in stream]
        assert seen[-1].data["outcome"] == "stopped"
        assert cut_off_soon(meter, len(seen))
        assert await p.client.said() == [LONG, text_of(seen)]
        assert (await p.client.delete(f"/runs/{run}")).status_code == 204
        assert (await p.client.ask(PRICE))[-1].name == "done"


@pytest.mark.parametrize("after", range(9, 18))
async def test_a_stop_at_any_moment(at, after: int) -> None:
    """Also beside the last token: the thread keeps what was seen."""
    async with at(resume_grace=0) as p:
        p.model.pace(ttft=0, per_token=0.001)
        for thread in "abc":
            run, _ = await p.client.ask_and_leave(
                "Who are you?", after, thread
            )
            await p.client.delete(f"/runs/{run}")
            seen = await p.client.resume(run, 0)
            assert seen[-1].name == "done"
            said = await p.client.said(thread)
            assert said == ["Who are you?", text_of(seen)]


async def test_a_stop_within_a_tool_leaves_no_open_call(
    at,
) -> None:
    called = asyncio.Event()

    async def price(dish: str) -> None:
        """Look up the price of a dish."""
        called.set()
        await asyncio.sleep(30)

    async with at(agent=agent_with([price])) as p:
        asking = asyncio.create_task(p.client.ask(PRICE))
        await called.wait()
        (run,) = p.runs.runs
        await p.client.delete(f"/runs/{run}")
        assert (await asking)[-1].data["outcome"] == "stopped"
        assert await p.client.said() == []
        assert (await p.client.ask("Who are you?"))[-1].name == "done"


async def test_what_is_no_run_and_what_is_no_number(at) -> None:
    async with at() as p:
        run = (await p.client.ask(PRICE))[0].data["run"]
        for last, status in [
            ("9999", 204),
            ("0", 200),
            ("x", 422),
            ("-1", 422),
            ("9" * 20, 422),
        ]:
            answer = await p.client.get(
                f"/runs/{run}", headers={"Last-Event-ID": last}
            )
            assert answer.status_code == status
        assert (await p.client.get("/runs/none")).status_code == 404
        assert (await p.client.delete("/runs/none")).status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("t/runs", b'{"message": "Hi", "x": %b1%b}', 400),
        ("t/answers", b'{"answer": %b1%b}', 400),
        ("t/runs", b"%b%b", 413),
        ("t%0d%0aX-A: b/runs", b'{"message": "Hi"%b%b}', 422),
    ],
    ids=["deep", "deep answer", "huge", "header"],
)
async def test_hostile_requests(
    at, path: str, body: bytes, status: int
) -> None:
    deep = (b"[" * 8000, b"]" * 8000)
    if status == 413:
        deep = (b"x" * 10_000_000, b"")
    if status == 422:
        deep = (b"", b"")
    async with at() as p:
        kind = {"Content-Type": "application/json"}
        answer = await p.client.post(
            f"/threads/{path}", content=body % deep, headers=kind
        )
        assert answer.status_code == status
        assert (await p.client.ask(NAME))[-1].name == "done"


async def test_a_thread_is_deleted_during_a_run(at) -> None:
    async with at() as p, p.client.asking(LONG) as response:
        stream = events_of(response)
        seen = [await anext(stream) for _ in range(3)]
        run = f"/runs/{response.headers['X-Run-Id']}"
        paths = ["/threads/t", run, "/threads/t", run]
        await asyncio.gather(*(p.client.delete(path) for path in paths))
        seen += [event async for event in stream]
        assert seen[-1].data["outcome"] == "stopped"
        assert await p.client.said() == []
        assert (await p.client.ask(NAME))[-1].name == "done"


# --- errors


@pytest.mark.parametrize(
    ("fault", "settings", "status"),
    [
        ({"kind": "rate_limit", "retry_after": 0, "times": 3}, {}, 429),
        ({"kind": "server_error", "times": 3}, {}, 502),
        ({"kind": "cut", "after_tokens": 0, "times": 9}, {}, 502),
        ({"kind": "stall", "seconds": 60}, {"first_token_timeout": 1}, 504),
        ({"kind": "refuse", "times": 9}, {}, 502),
    ],
    ids=["rate limit", "server error", "cut", "stall", "refuse"],
)
async def test_before_the_first_token_it_is_a_status(
    at, fault: dict[str, Any], settings: dict[str, Any], status: int
) -> None:
    async with at(**settings) as p:
        p.model.fault(**fault)
        answer = await p.client.post("/threads/t/runs", json={"message": "Hi"})
        assert answer.status_code == status, answer.text
        assert answer.json()["detail"].startswith("the model ")
        if status == 429:
            assert answer.headers["Retry-After"] == "0"
        await p.idle()
        assert await p.client.said() == []


async def test_a_long_wait_is_told_at_once(at) -> None:
    async with at() as p:
        meter = p.model.meter()
        p.model.fault("rate_limit", retry_after=120, times=3)
        answer = await p.client.post("/threads/t/runs", json={"message": "Hi"})
        assert answer.status_code == 429
        assert answer.headers["Retry-After"] == "120"
        assert meter.read().requests == 1


async def test_a_key_is_one_question_s(at) -> None:
    """Another question with it is refused; a refused one may try again."""
    async with at() as p:
        p.client.headers["Idempotency-Key"] = "once"
        p.model.fault("rate_limit", retry_after=120, times=1)
        refused = await p.client.post(
            "/threads/t/runs", json={"message": NAME}
        )
        assert refused.status_code == 429
        first = await p.client.ask(NAME)
        assert await p.client.ask(NAME) == first
        other = await p.client.post("/threads/t/runs", json={"message": "Hi"})
        assert other.status_code == 422
        assert await p.client.said() == [NAME, text_of(first)]


async def test_a_model_that_is_not_there(at) -> None:
    async with at(base_url="http://127.0.0.1:9/v1") as p:
        answer = await p.client.post("/threads/t/runs", json={"message": "Hi"})
        assert answer.status_code == 502
        assert answer.json()["detail"] == "the model cannot be reached"


async def test_a_break_in_mid_answer_begins_it_anew(at) -> None:
    async with at() as p:
        meter = p.model.meter()
        p.model.fault("cut", after_tokens=3)
        events = await p.client.ask("Who are you?")
        names = [event.name for event in events]
        assert names[:6] == ["start", *["token"] * 3, "restart", "token"]
        assert meter.read().requests == 2
        assert await p.client.said() == ["Who are you?", text_of(events)]


async def test_an_error_in_mid_answer_is_an_event(at) -> None:
    async with at() as p:
        p.model.fault("cut", after_tokens=3, times=2)
        events = await p.client.ask("Who are you?")
        assert events[-1].name == "error"
        assert events[-1].data["code"] == "model_error"
        assert sum(event.name in ("done", "error") for event in events) == 1
        assert await p.client.said() == ["Who are you?", text_of(events)]


async def test_a_run_has_a_time_limit(at) -> None:
    async with at(run_timeout=0.5) as p:
        meter = p.model.meter()
        p.model.fault("stall", after_tokens=3, seconds=60)
        events = await p.client.ask(LONG)
        assert events[-1].data["code"] == "timeout"
        assert meter.read().cut_off == 1


async def test_a_bug_in_the_agent_is_told_without_its_words(
    at, caplog: pytest.LogCaptureFixture
) -> None:
    async def price(dish: str) -> None:
        """Look up the price of a dish."""
        raise ValueError("secret sauce")

    async with at(agent=agent_with([price])) as p:
        answer = await p.client.post(
            "/threads/t/runs", json={"message": PRICE}
        )
        assert "ValueError" in answer.text
        assert "secret" not in answer.text + caplog.text


async def test_a_locked_journal_delays_and_loses_nothing(
    at, tmp_path: Path
) -> None:
    async with at() as p:
        async with p.client.asking(LONG) as response:
            stream = events_of(response)
            seen = [await anext(stream) for _ in range(3)]
            lock = sqlite3.connect(tmp_path / "service.db")
            lock.execute("BEGIN IMMEDIATE")
            seen += [await anext(stream) for _ in range(10)]
            await asyncio.sleep(1)
            lock.rollback()
            lock.close()
            seen += [event async for event in stream]
        assert seen[-1].data["outcome"] == "complete"
        kept = await p.client.resume(seen[0].data["run"], 0)
        assert kept == seen


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SERVICE_DB", ""),
        ("SERVICE_MAX_RUNS", "0"),
        ("SERVICE_MAX_RUNS", "2.7"),
        ("SERVICE_MAX_RUNS", ""),
        ("SERVICE_RUN_TIMEOUT", "soon"),
        ("SERVICE_RUN_TIMEOUT", "inf"),
        ("SERVICE_RESUME_GRACE", "-1"),
        ("SERVICE_AGENT", "nowhere:at_all"),
        ("OPENAI_MODEL", ""),
    ],
)
def test_a_bad_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert in_one_line(caught.value).startswith(f"{name}: ")
