"""The practice model's meter, faults, pace, errors and life."""

import asyncio
import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import time

import openai
import pytest
from practice_client import chat, fast_model, send

from workshop.practice.sessions import Pace

COMMAND = [sys.executable, "-m", "workshop.practice"]
POSIX = os.name == "posix"
COUNT = "count to 12"  # an answer of twelve tokens
NUMBERS = " ".join(map(str, range(1, 13)))


@pytest.fixture
def model():
    return fast_model()


def client(model, **options):
    return openai.OpenAI(
        base_url=model.base_url,
        api_key=model.key,
        max_retries=options.pop("max_retries", 0),
        http_client=openai.DefaultHttpxClient(trust_env=False, verify=False),
        **options,
    )


def ask(openai_client, prompt=COUNT, **more):
    return openai_client.chat.completions.create(**chat(prompt, **more))


def texts(stream):
    """The texts of a stream's chunks, as they come."""
    for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            yield chunk.choices[0].delta.content


def meter(model, token=None):
    return send(model, "GET", "/meter", token=token).json


def counts(requests, peak, tokens, *, in_flight=0, cut_off=0):
    return {
        "requests": requests,
        "in_flight": in_flight,
        "peak_in_flight": peak,
        "tokens_sent": tokens,
        "cut_off": cut_off,
    }


# The meter


@pytest.mark.parametrize("stream", [True, False])
def test_meter_of_requests_one_after_another(model, stream):
    for number in range(1, 21):
        send(model, "POST", "/v1/chat/completions", chat(COUNT, stream=stream))
        # The client knows that it ended only when the meter knows it too.
        assert meter(model) == counts(number, 1, 12 * number)


class Hung(asyncio.Protocol):
    """A raw connection that asks once, and counts what it gets."""

    def __init__(self, request):
        self.request = request
        self.answered = asyncio.Event()

    def connection_made(self, transport):
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data):
        if b"content" in data:
            self.answered.set()


async def hold(model, count, body):
    """Open so many requests at once, and keep them open."""
    host, port = model.base_url.split("/")[2].split(":")
    data = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\n"
        f"Authorization: Bearer {model.key}\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    )
    loop = asyncio.get_running_loop()
    opened = [
        loop.create_connection(
            lambda: Hung(head.encode() + data), host, int(port)
        )
        for _ in range(count)
    ]
    return [protocol for _, protocol in await asyncio.gather(*opened)]


async def in_flight(model, count):
    """Wait until the server serves so many."""
    read = functools.partial(asyncio.to_thread, meter, model)
    while (await read())["in_flight"] != count:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def test_meter_of_a_thousand_streams(model):
    model.fault("stall", after_tokens=3, times=1000)
    held = await hold(model, 1000, chat(COUNT, stream=True))
    await asyncio.gather(*(one.answered.wait() for one in held))
    await in_flight(model, 1000)
    assert meter(model) == counts(1000, 1000, 3000, in_flight=1000)
    for one in held:
        one.transport.abort()
    await in_flight(model, 0)
    assert meter(model) == counts(1000, 1000, 3000, cut_off=1000)


@pytest.mark.parametrize("stream", [True, False])
async def test_meter_when_clients_leave_before_the_first_token(model, stream):
    model.pace(ttft=60)
    held = await hold(model, 50, chat(COUNT, stream=stream))
    await in_flight(model, 50)
    for one in held[:20]:
        one.transport.abort()
    await asyncio.sleep(0)  # the sockets are closed now
    await asyncio.sleep(0)
    assert meter(model) == counts(50, 50, 0, in_flight=30, cut_off=20)
    for one in held[20:]:
        one.transport.abort()
    await in_flight(model, 0)


async def test_who_left_before_a_reset_is_not_counted_after_it(model):
    model.pace(ttft=60)
    held = await hold(model, 5, chat(COUNT))
    await in_flight(model, 5)
    held[0].transport.abort()
    await asyncio.sleep(0)  # the socket is closed now
    await asyncio.sleep(0)
    reset = send(model, "POST", "/meter/reset").json
    assert reset == counts(0, 4, 0, in_flight=4)
    for one in held[1:]:
        one.transport.abort()
    await in_flight(model, 0)
    assert meter(model)["cut_off"] == 4


async def test_meter_reset_keeps_what_is_in_flight(model):
    model.pace(ttft=60)
    held = await hold(model, 3, chat(COUNT))
    await in_flight(model, 3)
    reset = send(model, "POST", "/meter/reset").json
    assert reset == counts(0, 3, 0, in_flight=3)
    for one in held:
        one.transport.abort()
    await in_flight(model, 0)


def test_a_client_that_leaves_after_the_end_was_not_cut_off(model):
    with client(model) as openai_client:
        assert "".join(texts(ask(openai_client, stream=True))) == NUMBERS
    assert meter(model) == counts(1, 1, 12)


def test_each_key_has_its_own_meter_faults_and_pace(model):
    other = fast_model()
    model.fault("server_error")
    model.pace(ttft=60)
    answer = send(other, "POST", "/v1/chat/completions", chat(COUNT))
    assert answer.status == 200
    assert meter(model) == counts(0, 0, 0)
    assert meter(other) == counts(1, 1, 12)


def test_without_a_key_a_control_is_about_all():
    with alone("--ttft", "0", "--per-token", "0") as server:
        for key in ("one", "two"):
            body = chat(COUNT)
            send(server, "POST", "/v1/chat/completions", body, token=key)
        assert meter(server, token="") == counts(2, 1, 24)
        send(server, "POST", "/faults", {"kind": "server_error"}, token="")
        for status in (500, 200):
            answer = send(
                server, "POST", "/v1/chat/completions", body, token="three"
            )
            assert answer.status == status
        send(server, "POST", "/pace", {"ttft": 60}, token="")
        pace = send(server, "POST", "/pace", {}, token="four").json
        assert pace["ttft"] == 60
        send(server, "POST", "/meter/reset", token="")
        assert meter(server, token="one") == counts(0, 0, 0)


def test_controls_and_wrong_routes_do_not_count(model):
    send(model, "GET", "/v1/models")
    send(model, "GET", "/nowhere")
    send(model, "GET", "/v1/chat/completions")
    assert meter(model) == counts(0, 0, 0)


def test_embeddings_and_rejected_requests_count(model):
    send(model, "POST", "/v1/embeddings", {"model": "e", "input": "hi"})
    send(model, "POST", "/v1/chat/completions", b"{")
    assert meter(model) == counts(2, 1, 0)


# Faults


@pytest.mark.parametrize("stream", [True, False])
def test_rate_limit(model, stream):
    model.fault("rate_limit", retry_after=0.5)
    with pytest.raises(openai.RateLimitError) as caught:
        ask(client(model), stream=stream)
    assert caught.value.response.headers["retry-after"] == "0.5"
    assert caught.value.code == "rate_limit_exceeded"
    assert meter(model) == counts(1, 1, 0)


def test_faults_come_in_order_as_often_as_asked(model):
    model.fault("rate_limit", times=2)
    model.fault("server_error")
    path, body = "/v1/chat/completions", chat(COUNT)
    got = [send(model, "POST", path, body).status for _ in range(5)]
    assert got == [429, 429, 500, 200, 200]


def test_a_client_that_tries_again_gets_its_answer(model):
    model.fault("rate_limit", times=2, retry_after=0.01)
    answer = ask(client(model, max_retries=2))
    assert answer.choices[0].message.content == NUMBERS
    assert meter(model)["requests"] == 3


@pytest.mark.parametrize("stream", [True, False])
def test_refuse(model, stream):
    model.fault("refuse")
    with pytest.raises(openai.APIConnectionError):
        ask(client(model), stream=stream)
    assert meter(model) == counts(1, 1, 0)  # the client did not leave


def test_cut_a_stream(model):
    model.fault("cut", after_tokens=3)
    got = []
    with pytest.raises(openai.APIConnectionError):
        got.extend(texts(ask(client(model), stream=True)))
    assert got == ["1", " 2", " 3"]
    assert meter(model) == counts(1, 1, 3)


@pytest.mark.parametrize("after", [0, 3, 100])
def test_cut_an_answer_that_is_not_streamed(model, after):
    model.fault("cut", after_tokens=after)
    with pytest.raises(openai.APIConnectionError):
        ask(client(model))
    assert meter(model) == counts(1, 1, 0)


@pytest.mark.parametrize(("after", "sent"), [(0, 0), (12, 12), (99, 12)])
def test_cut_at_the_ends_of_a_stream(model, after, sent):
    model.fault("cut", after_tokens=after)
    with pytest.raises(openai.APIConnectionError):
        list(ask(client(model), stream=True))
    assert meter(model) == counts(1, 1, sent)


def test_stall_until_the_client_leaves(model):
    model.fault("stall", after_tokens=2)
    got = []
    with (
        client(model, timeout=0.3) as openai_client,
        pytest.raises(openai.APIConnectionError),
    ):
        got.extend(texts(ask(openai_client, stream=True)))
    assert got == ["1", " 2"]
    assert meter(model) == counts(1, 1, 2, cut_off=1)


@pytest.mark.parametrize("stream", [True, False])
def test_stall_that_ends(model, stream):
    model.fault("stall", after_tokens=2, seconds=0.2)
    begin = time.monotonic()
    answer = ask(client(model), stream=stream)
    if stream:
        assert "".join(texts(answer)) == NUMBERS
    else:
        assert answer.choices[0].message.content == NUMBERS
    assert time.monotonic() - begin >= 0.2
    assert meter(model) == counts(1, 1, 12)


def test_fault_of_one_request_in_its_header(model):
    header = {"x-practice-fault": "rate_limit;retry_after=2"}
    body = chat(COUNT)
    answer = send(model, "POST", "/v1/chat/completions", body, header)
    assert answer.status == 429
    assert answer.headers["Retry-After"] == "2"
    assert send(model, "POST", "/v1/chat/completions", body).status == 200


def test_faults_can_be_taken_back(model):
    model.fault("server_error", times=3)
    assert send(model, "DELETE", "/faults").json == {"queued": 0}
    answer = send(model, "POST", "/v1/chat/completions", chat(COUNT))
    assert answer.status == 200


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("/faults", {}, "kind"),
        ("/faults", {"kind": "flood"}, "rate_limit, server_error, refuse"),
        ("/faults", {"kind": ["cut"]}, "kind"),
        ("/faults", {"kind": "cut", "after_tokens": -1}, "after_tokens"),
        ("/faults", {"kind": "cut", "after_tokens": 1.5}, "after_tokens"),
        ("/faults", {"kind": "cut", "after_tokens": True}, "after_tokens"),
        ("/faults", {"kind": "cut", "seconds": 1}, "seconds"),
        ("/faults", {"kind": "stall", "seconds": "long"}, "seconds"),
        ("/faults", {"kind": "refuse", "times": 0}, "times"),
        ("/pace", {"ttft": -1}, "ttft"),
        ("/pace", {"per_token": None}, "per_token"),
        ("/pace", {"speed": 3}, "speed"),
        ("/pace", {"jitter": 2}, "jitter"),
        ("/pace", {"seed": 1.5}, "seed"),
        ("/pace", {"context_tokens": 0}, "context_tokens"),
        ("/pace", {"context_tokens": 1e3}, "context_tokens"),
        ("/faults", {"kind": "refusal", "after_tokens": 1}, "after_tokens"),
        ("/pace", {"ttft": float("nan")}, "ttft"),
    ],
)
def test_bad_controls_say_what_is_wrong(model, path, body, named):
    answer = send(model, "POST", path, body)
    assert answer.status == 400
    assert named in answer.json["error"]["message"]


@pytest.mark.parametrize("fault", ["flood", "cut;after_tokens=x", "cut;a=1"])
def test_bad_fault_header(model, fault):
    header = {"x-practice-fault": fault}
    body = chat(COUNT)
    answer = send(model, "POST", "/v1/chat/completions", body, header)
    assert answer.status == 400


# Pace


def test_schedule_is_absolute():
    pace = Pace(ttft=1.0, per_token=0.5)
    assert pace.schedule(3, "any") == [1.0, 1.5, 2.0, 2.5]


def test_jitter_repeats_with_its_seed_and_does_not_add_up():
    pace = Pace(ttft=0.0, per_token=1.0, jitter=0.5, seed=1)
    due = pace.schedule(200, "a prompt")
    assert due == pace.schedule(200, "a prompt")
    assert due != pace.schedule(200, "another")
    assert due != pace.changed({"seed": 2}).schedule(200, "a prompt")
    assert all(k <= moment <= k + 0.5 for k, moment in enumerate(due))
    assert len({moment % 1 for moment in due}) > 100


def test_no_token_is_early_and_both_ways_take_as_long(model):
    model.pace(ttft=0.3, per_token=0.02)
    with client(model) as openai_client:
        begin = time.monotonic()
        came = []
        for _ in texts(ask(openai_client, stream=True)):
            came.append(time.monotonic() - begin)
        streamed = time.monotonic() - begin
        ask(openai_client)
        whole = time.monotonic() - begin - streamed
    early = [t for k, t in enumerate(came) if t < 0.3 + 0.02 * k - 0.002]
    assert not early
    assert min(streamed, whole) >= 0.3 + 12 * 0.02 - 0.002


# Errors and odd input


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "param"),
    [
        ("POST", "/v1/chat/completions", b"{", 400, None),
        ("POST", "/v1/chat/completions", b"[1]", 400, None),
        ("POST", "/v1/chat/completions", b"\xff\xfe", 400, None),
        ("POST", "/v1/chat/completions", b"[" * 100_000, 400, None),
        ("POST", "/v1/responses", b"", 400, "model"),
        ("POST", "/v1/chat/completions", {"model": "m"}, 400, "messages"),
        ("POST", "/v1/chat/completions", chat(7), 400, "messages[0].content"),
        ("POST", "/v1/chat/completions", chat("", tools=[{}]), 400, None),
        ("POST", "/v1/chat/completions", chat("", stop=3), 400, None),
        ("POST", "/v1/responses", {"model": "m"}, 400, "input"),
        ("POST", "/v1/responses", {"model": "m", "input": []}, 400, "input"),
        ("POST", "/v1/embeddings", {"model": "m"}, 400, "input"),
        (
            "POST",
            "/v1/embeddings",
            {"model": "m", "input": [{}]},
            400,
            None,
        ),
        ("GET", "/v1/models/gpt-9", None, 404, "model"),
        ("GET", "/v1/completions", None, 404, None),
        ("POST", "/", {}, 404, None),
        ("GET", "/v1/chat/completions", None, 405, None),
        ("PUT", "/meter", {}, 405, None),
    ],
)
def test_errors_have_openais_form(model, method, path, body, status, param):
    answer = send(model, method, path, body)
    assert answer.status == status
    error = answer.json["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert param is None or error["param"] == param


@pytest.mark.parametrize(
    ("messages", "named"),
    [
        ([], "messages"),
        (["hi"], "messages[0]"),
        ([{"content": "hi"}], "messages[0].role"),
        ([{"role": "waiter", "content": "hi"}], "waiter"),
        (
            [{"role": "tool", "content": "7", "tool_call_id": "x"}],
            "preceeding",
        ),
    ],
)
def test_bad_messages(model, messages, named):
    body = {"model": "gpt-4o", "messages": messages}
    answer = send(model, "POST", "/v1/chat/completions", body)
    assert answer.status == 400
    assert named in answer.json["error"]["message"]


def test_a_call_without_its_result_is_an_error(model):
    call = {"name": "f", "arguments": "{}"}
    calls = [{"id": "c1", "type": "function", "function": call}]
    body = chat("hi")
    body["messages"] += [
        {"role": "assistant", "tool_calls": calls},
        {"role": "user", "content": "well?"},
    ]
    answer = send(model, "POST", "/v1/chat/completions", body)
    assert answer.status == 400
    assert "c1" in answer.json["error"]["message"]


@pytest.mark.parametrize(
    "prompt",
    [
        "a word " * 150_000,
        "😀" * 9,
        "مرحبا بالعالم",
        "<script>alert(1)</script>",
    ],
    ids=["1 MB", "emoji", "right to left", "script"],
)
def test_any_prompt_is_answered_and_quoted(model, prompt):
    model.pace(context_tokens=1_000_000)
    body = chat(prompt)
    answer = send(model, "POST", "/v1/chat/completions", body).json
    text = answer["choices"][0]["message"]["content"]
    assert "practice model" in text
    assert prompt[:9] in text


def test_half_a_character_in_a_prompt(model):
    body = json.dumps(chat("half \ud800")).encode()
    answer = send(model, "POST", "/v1/chat/completions", body)
    assert answer.status == 200


# Life


class alone(contextlib.AbstractContextManager):
    """A server process of its own."""

    key = "alone"

    def __init__(self, *options, command=COMMAND, **popen):
        self.process = subprocess.Popen(
            [*command, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **popen,
        )
        line = self.process.stdout.readline()
        assert line.startswith("practice model at http://")
        self.base_url = line.split()[-1]
        self.port = int(self.base_url.split(":")[2].removesuffix("/v1"))

    def __exit__(self, *exc_info):
        self.process.kill()
        self.process.stdin = None
        self.process.communicate()

    def end(self):
        """What it wrote to stderr, and its exit code."""
        _, errors = self.process.communicate(timeout=150)
        return errors, self.process.returncode


async def test_works_without_uvloop_and_httptools():
    code = (
        "import runpy, sys; "
        "sys.modules.update(uvloop=None, httptools=None); "
        "runpy.run_module('workshop.practice', run_name='__main__')"
    )
    with alone(command=[sys.executable, "-c", code]) as server:
        send(server, "POST", "/pace", {"ttft": 0, "per_token": 0})
        assert "".join(texts(ask(client(server), stream=True))) == NUMBERS
        for kind in ("refuse", "cut"):
            send(server, "POST", "/faults", {"kind": kind})
            with pytest.raises(openai.APIConnectionError):
                list(ask(client(server), stream=True))
        send(server, "POST", "/pace", {"ttft": 60})
        held = await hold(server, 5, chat(COUNT, stream=True))
        await in_flight(server, 5)
        for one in held:
            one.transport.abort()
        await in_flight(server, 0)
        assert meter(server) == counts(8, 5, 12, cut_off=5)


def test_help_shows_every_route_with_an_example():
    text = subprocess.run(
        [*COMMAND, "--help"], capture_output=True, text=True, check=True
    ).stdout
    for route in (
        "/v1/chat/completions",
        "/v1/responses",
        "/v1/embeddings",
        "/v1/models",
        "/v1/models/gpt-4o",
        "/meter",
        "/meter/reset",
        "/pace",
        "/faults",
    ):
        assert f"$URL{route}" in text


def test_port_taken():
    with alone() as server:
        second = subprocess.run(
            [*COMMAND, "--port", str(server.port)],
            capture_output=True,
            text=True,
        )
    assert second.returncode == 2
    assert second.stdout == ""
    assert second.stderr.count("\n") == 1
    assert str(server.port) in second.stderr


@pytest.mark.parametrize("option", ["--ttft=-1", "--jitter=3", "--port=x"])
def test_bad_options(option):
    done = subprocess.run([*COMMAND, option], capture_output=True, text=True)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_open_to_the_network_is_said():
    with alone("--host", "0.0.0.0") as server:
        line = server.process.stdout.readline()
    assert "no key is asked" in line


@pytest.mark.skipif(not POSIX, reason="Windows stops processes otherwise")
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
async def test_stops_cleanly_with_streams_open(number):
    with alone("--ttft", "60") as server:
        await hold(server, 2, chat(COUNT, stream=True))
        await in_flight(server, 2)
        server.process.send_signal(getattr(signal, number))
        assert await asyncio.to_thread(server.end) == ("", 0)


def test_ends_with_its_stdin():
    with alone("--with-parent") as server:
        assert server.end() == ("", 0)  # which closes stdin first


@pytest.mark.skipif(not POSIX, reason="sockets are inherited by number")
def test_serves_on_an_inherited_socket():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        port = listener.getsockname()[1]
        with alone("--fd", str(number), pass_fds=[number]) as server:
            assert server.port == port
            assert send(server, "GET", "/v1/models").status == 200


@pytest.mark.skipif(not POSIX, reason="there is no SIGKILL on Windows")
def test_ends_when_its_parent_is_killed():
    # The server's stdin stays open in this process: only the change of its
    # parent tells it.
    code = (
        "import subprocess, sys, time; "
        f"subprocess.Popen({[*COMMAND, '--with-parent']!r}); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        parent.stdout.readline()
        parent.kill()
        assert parent.stdout.read() == ""  # returns when the server is gone


def test_starts_light():
    code = (
        "import sys, workshop.practice.__main__; "
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    heavy = {"pydantic", "langchain_core", "openai", "fastapi", "numpy"}
    assert "uvicorn" in loaded
    assert heavy.isdisjoint(loaded)
