"""No request holds up another, and none outlives its client."""

import asyncio
import json
import signal

import pytest
from practice_client import chat, fast_model
from test_practice_schemas import requires_itself
from test_practice_server import POSIX, alone, in_flight, meter

TIMES = 12  # heavy requests at once; two are worked on, the rest waits


def schema(value):
    form = {"name": "x", "schema": value}
    form = {"type": "json_schema", "json_schema": form}
    prompt = "Jason is 25 years old. " * 40
    return "/v1/chat/completions", chat(prompt, response_format=form)


def tool(number):
    """A tool that fits a long prompt, as all the others do."""
    function = {
        "name": f"search_{number}",
        "description": "Search the web for items, one by one.",
        "parameters": {
            "type": "object",
            "properties": {"item": {"type": "string"}},
            "required": ["item"],
        },
    }
    return {"type": "function", "function": function}


LIST = ", ".join(f"search item {n}" for n in range(120))
HEAVY = {
    "a schema that requires itself": schema(requires_itself(6)),
    "512 embeddings": (
        "/v1/embeddings",
        {"model": "e", "input": ["a few words"] * 512},
    ),
    "128 tools": (
        "/v1/chat/completions",
        chat(f"{LIST} and the rest", tools=[tool(n) for n in range(128)]),
    ),
}


class Sent(asyncio.Protocol):
    """A request on a connection of its own; when it was answered."""

    def __init__(self, head, body):
        self.data = head + body
        self.answered = asyncio.Event()

    def connection_made(self, transport):
        self.transport = transport
        transport.write(self.data)

    def data_received(self, data):
        self.answered.set()


async def start(model, path, body, count):
    host, port = model.base_url.split("/")[2].split(":")
    data = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\n"
        f"Authorization: Bearer {model.key}\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    ).encode()
    loop = asyncio.get_running_loop()
    made = [
        loop.create_connection(lambda: Sent(head, data), host, int(port))
        for _ in range(count)
    ]
    return [sent for _, sent in await asyncio.gather(*made)]


@pytest.mark.parametrize("kind", HEAVY)
async def test_a_second_session_does_not_wait(kind):
    """It asks after twelve heavy requests, and is answered before them."""
    heavy, light = fast_model(), fast_model()
    sent = await start(heavy, *HEAVY[kind], TIMES)
    [second] = await start(light, "/v1/chat/completions", chat("Hello"), 1)
    await second.answered.wait()
    assert not all(one.answered.is_set() for one in sent)
    for one in [second, *sent]:
        one.transport.abort()
    await in_flight(heavy, 0)


async def test_work_stops_when_its_client_leaves():
    model = fast_model()
    path, body = HEAVY["512 embeddings"]
    sent = await start(model, path, body, 20)
    await in_flight(model, 20)
    for one in sent:
        one.transport.abort()
    await in_flight(model, 0)
    assert meter(model)["cut_off"] == 20
    # Nothing is left of their work that a next one would wait for.
    [next_one] = await start(model, path, body, 1)
    await asyncio.wait_for(next_one.answered.wait(), 150)
    next_one.transport.abort()


@pytest.mark.skipif(not POSIX, reason="Windows stops processes otherwise")
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("kind", ["512 embeddings", "128 tools"])
async def test_it_ends_whatever_it_does(kind, number):
    with alone("--ttft", "0") as server:
        await start(server, *HEAVY[kind], 20)
        await in_flight(server, 20)
        server.process.send_signal(getattr(signal, number))
        errors, code = await asyncio.to_thread(server.end)
    assert (errors, code) == ("", 0)
