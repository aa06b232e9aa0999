"""Serving an app from a cell, and what guests of an app report."""

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI, Response
from fastapi.responses import StreamingResponse
from langchain_openai import ChatOpenAI

from workshop.checks.kit import Kitchen, kitchen
from workshop.guests import crowd, leave, talk
from workshop.model import WorkshopError
from workshop.serve import serve, serve_file

app = FastAPI()


@app.get("/")
async def hello() -> str:
    return "hello"


@app.get("/thread")
async def thread() -> int:
    return threading.get_ident()


@app.get("/fails")
async def fails() -> None:
    raise LookupError("no soup")


@app.get("/forever")
async def forever() -> None:
    await asyncio.Event().wait()


async def get(url: str) -> httpx2.Response:
    async with httpx2.AsyncClient() as client:
        return await client.get(url)


async def refused(url: str) -> bool:
    try:
        await get(url)
    except httpx2.ConnectError:
        return True
    return False


async def test_it_runs_on_this_loop_and_ends_with_the_block() -> None:
    async with serve(app) as url:
        assert (await get(url)).json() == "hello"
        assert (await get(f"{url}/thread")).json() == threading.get_ident()
    assert await refused(url)


async def test_two_apps_have_a_port_each() -> None:
    async with serve(app) as one, serve(app) as other:
        assert one != other
        assert (await get(one)).text == (await get(other)).text


async def test_it_can_be_started_and_stopped_by_hand() -> None:
    site = serve(app)
    assert site.url is None
    url = await site.start()
    assert await site.start() == url == site.url
    for _ in range(2):
        await site.stop()
        assert site.url is None
    async with site as url:
        assert (await get(url)).json() == "hello"


async def test_a_port_that_is_taken_is_named() -> None:
    async with serve(app) as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(WorkshopError, match=f"Port {port} is taken"):
            await serve(app, port=port).start()


async def test_it_does_not_set_up_the_loggers_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[Any] = []
    monkeypatch.setattr("logging.config.dictConfig", calls.append)
    async with serve(app):
        pass
    assert calls == []


async def test_it_keeps_what_the_app_raised() -> None:
    site = serve(app)
    async with site as url:
        assert (await get(f"{url}/fails")).status_code == 500
    assert [str(error) for error in site.errors] == ["no soup"]


async def test_a_lifespan_that_fails_raises_its_error() -> None:
    async def lifespan(app):
        raise LookupError("no kitchen")
        yield

    with pytest.raises(LookupError, match="no kitchen"):
        await serve(FastAPI(lifespan=lifespan)).start()


async def test_stop_cancels_what_is_still_being_answered() -> None:
    async with serve(app, patience=0.1) as url:
        asking = asyncio.create_task(get(f"{url}/forever"))
        await asyncio.sleep(0.2)
    assert (await asking).status_code == 500


async def test_it_leaves_the_interrupt_to_the_kernel() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    async with serve(app):
        during = map(signal.getsignal, (signal.SIGINT, signal.SIGTERM))
        assert tuple(during) == before


PROGRAM = """
import os
from fastapi import FastAPI
app = FastAPI()
app.get("/pid")(lambda: os.getpid())
"""


async def test_a_file_is_served_by_a_process_that_ends() -> None:
    async with serve_file(PROGRAM) as url:
        pid = (await get(f"{url}/pid")).json()
        assert pid != os.getpid()
    assert await refused(url)


async def test_a_file_that_does_not_run_says_why() -> None:
    with pytest.raises(WorkshopError, match="ZeroDivisionError"):
        async with serve_file("1 / 0"):
            pass


async def test_a_file_without_an_app_says_so() -> None:
    with pytest.raises(WorkshopError, match='Attribute "app" not found'):
        async with serve_file("soup = 1"):
            pass


# --- guests


@pytest.fixture
async def place() -> AsyncIterator[Kitchen]:
    async with kitchen(hello, ttft=0.5, per_token=0.02) as found:
        found.llm.stream_chunk_timeout = None
        yield found


def endpoint_of(llm: ChatOpenAI) -> Callable[..., Any]:
    """An endpoint that streams the model itself, without a graph."""

    async def chat(message: str) -> Response:
        parts = (part.text async for part in llm.astream(message))
        return StreamingResponse(parts)

    return chat


async def test_a_reader_reports_what_it_got(place: Kitchen, capsys) -> None:
    await talk(endpoint_of(place.llm), "Reply with exactly: soup")
    place.model.fault("server_error", times=3)
    await talk(endpoint_of(place.llm), "Hello")
    right, broken, why = capsys.readouterr().out.splitlines()
    assert right == "200 'soup'"
    assert broken == "200 '', then RemoteProtocolError"
    assert why.startswith("    the app raised OpenAIAPIError: ")


async def test_it_takes_a_whole_app_as_well(capsys) -> None:
    await talk(app, "Hello")
    assert capsys.readouterr().out == '404 \'{"detail":"Not Found"}\'\n'


async def test_a_crowd_counts_requests_and_pings(place: Kitchen) -> None:
    met = await crowd(endpoint_of(place.llm), 5, "Hello", place.model)
    assert (met.asked, met.at_once) == (5, 5)
    assert met.pings > 0
    assert str(met) == "5 asked, 5 at once, pings answered"


async def test_a_crowd_notices_who_blocks(place: Kitchen) -> None:
    async def chat(message: str) -> str:
        return place.llm.invoke(message).text

    met = await crowd(chat, 3, "Hello", place.model)
    assert str(met) == "3 asked, 1 at once, no ping answered"


async def test_who_leaves_learns_whether_the_model_wrote_on(
    place: Kitchen, capsys
) -> None:
    async def chat(message: str) -> Response:
        async def pump() -> None:
            async for part in place.llm.astream(message):
                queue.put_nowait(part.text)

        async def parts() -> AsyncIterator[str]:
            while True:
                yield await queue.get()

        queue: asyncio.Queue[str] = asyncio.Queue()
        runs.append(asyncio.create_task(pump()))
        return StreamingResponse(parts())

    runs: list[asyncio.Task[None]] = []
    story = "Tell me a story in 20 words"
    assert await leave(chat, story, place.model)
    assert not await leave(endpoint_of(place.llm), story, place.model)
    await asyncio.wait(runs)
    on, off = capsys.readouterr().out.splitlines()
    assert on == "chat: 0 cut off, goes on: True"
    assert off == "chat: 1 cut off, goes on: False"
