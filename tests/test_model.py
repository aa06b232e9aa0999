"""The practice model's life, seen from the process that connects."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

import pytest

import workshop.model
from workshop.model import WorkshopError, practice_model

CONNECT = "from workshop.model import connect; model = connect()\n"
CLEAN = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("OPENAI_", "WORKSHOP_"))
}


def run(script: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script],
        env=CLEAN | env,
        capture_output=True,
        text=True,
        timeout=150,
    )


def printed(script: str, **env: str) -> list[str]:
    result = run(script, **env)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def last_error(script: str, **env: str) -> str:
    result = run(script, **env)
    assert result.returncode != 0
    return result.stderr.splitlines()[-1]


def answers(base_url: str) -> bool:
    try:
        urllib.request.urlopen(f"{base_url}/models", timeout=60).close()
    except OSError:
        return False
    return True


def eventually(condition) -> bool:
    """Whether it comes true within 20 s, which only a failure waits for."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_connect_prints_one_line_and_a_second_call_changes_nothing():
    lines = printed(
        CONNECT
        + "import os; before = dict(os.environ), model; again = connect()\n"
        "print((dict(os.environ), again) == before)"
    )
    assert lines == [
        "Practice model on this machine: no key is used, nothing to pay.",
        "Practice model on this machine: no key is used, nothing to pay.",
        "True",
    ]


def test_a_key_in_the_environment_is_never_used():
    values = printed(
        CONNECT + "import os, json\n"
        "print(json.dumps({k: v for k, v in os.environ.items()"
        " if k.startswith('OPENAI_')}))",
        OPENAI_API_KEY="sk-real",
        OPENAI_ADMIN_KEY="sk-admin",
        OPENAI_API_BASE="https://api.openai.com/v1",
        OPENAI_PROXY="http://127.0.0.1:9",
        OPENAI_ORG_ID="org-real",
    )[-1]
    settings = json.loads(values)
    assert set(settings) == {"OPENAI_API_KEY", "OPENAI_BASE_URL"}
    assert settings["OPENAI_API_KEY"].startswith("practice-")
    assert settings["OPENAI_BASE_URL"].startswith("http://127.0.0.1:")


def test_the_key_is_not_shown():
    model = practice_model()
    assert model.key not in repr(model)


def test_loopback_does_not_go_through_a_proxy():
    nobody = "http://127.0.0.1:9"
    script = (
        CONNECT + "from langchain_openai import ChatOpenAI\n"
        "with model.meter() as meter:\n"
        "    ChatOpenAI(model=model.name).invoke('Hello')\n"
        "print(meter.requests)"
    )
    proxies = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy")
    result = run(script, **dict.fromkeys(proxies, nobody))
    assert result.stdout.splitlines()[-1] == "1"
    assert result.stderr == ""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_the_server_dies_with_a_killed_kernel():
    kernel = subprocess.Popen(
        [
            sys.executable,
            "-uc",
            CONNECT + "print(model.base_url); import time; time.sleep(60)",
        ],
        env=CLEAN,
        stdout=subprocess.PIPE,
        text=True,
    )
    with kernel:
        kernel.stdout.readline()
        base_url = kernel.stdout.readline().strip()
        assert answers(base_url)
        kernel.send_signal(signal.SIGKILL)
    assert eventually(lambda: not answers(base_url))


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_an_interrupt_of_the_kernel_does_not_reach_the_server():
    lines = printed(
        "import os, signal\n"
        + CONNECT
        + "model.meter()\n"
        + "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "os.setpgid(0, 0); os.killpg(0, signal.SIGINT)\n"
        "import time; time.sleep(0.3); print(model.meter())"
    )
    assert lines[-1].startswith("0 requests")


def test_connect_brings_a_killed_server_back_at_the_same_address():
    result = run(
        CONNECT + "from workshop.model import _server, WorkshopError\n"
        "import threading\n"
        "model.meter(); _server.process.kill()\n"
        "for thread in threading.enumerate():\n"
        "    if thread.daemon: thread.join()  # it reports the end\n"
        "try: model.meter()\n"
        "except WorkshopError as error: print(error)\n"
        "print(connect() == model, model.meter())"
    )
    lines = result.stdout.splitlines()
    assert "Run the cell with connect() again." in lines[1]
    assert lines[-1].startswith("True 0 requests")
    assert "The practice model stopped" in result.stderr


def test_sessions_are_counted_apart():
    one, other = practice_model(), practice_model()
    with one.meter() as meter, other.meter() as other_meter:
        body = json.dumps(
            {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
        )
        request = urllib.request.Request(
            f"{one.base_url}/chat/completions",
            data=body.encode(),
            headers={"Authorization": f"Bearer {one.key}"},
        )
        urllib.request.urlopen(request).close()
    assert (meter.requests, other_meter.requests) == (1, 0)
    assert meter.tokens_sent > 0
    assert str(other_meter) == (
        "0 requests, at most 0 in flight, 0 tokens sent, 0 cut off"
    )


def test_a_wrong_fault_or_pace_is_refused_with_a_reason():
    model = practice_model()
    with pytest.raises(ValueError, match="kind"):
        model.fault("explode")
    with pytest.raises(ValueError, match="ttft"):
        model.pace(ttft=-1)


def test_a_class_shares_one_practice_model():
    shared = practice_model()
    lines = printed(
        CONNECT + "print(model.base_url); print(model.meter())",
        WORKSHOP_MODEL=shared.base_url.removesuffix("/v1"),
    )
    assert lines[0].startswith(f"Practice model on {shared.base_url}:")
    assert lines[1] == shared.base_url


def test_the_same_cells_talk_to_any_compatible_server():
    server = practice_model()
    result = run(
        CONNECT + "from langchain_openai import ChatOpenAI\n"
        "with model.meter() as meter:\n"
        "    ChatOpenAI(model=model.name).invoke('Hello')\n"
        "print(meter)\nmodel.pace(ttft=1)",
        WORKSHOP_MODEL="openai",
        OPENAI_BASE_URL=server.base_url,
        OPENAI_MODEL="llama3.2",
    )
    stdout = result.stdout.splitlines()
    assert stdout[0] == f"llama3.2 at {server.base_url}: real requests."
    assert stdout[1].startswith("1 request, at most 1 in flight")
    assert "This needs the practice model." in result.stderr


@pytest.mark.parametrize(
    ("env", "reason"),
    [
        ({"WORKSHOP_MODEL": "openai"}, "needs OPENAI_API_KEY"),
        (
            {
                "WORKSHOP_MODEL": "openai",
                "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
            },
            "Nobody answers at http://127.0.0.1:9/v1",
        ),
        (
            {"WORKSHOP_MODEL": "http://127.0.0.1:9"},
            "Nobody answers at http://127.0.0.1:9/v1",
        ),
        ({"WORKSHOP_MODEL": "gpt-4o"}, "Use practice, openai, or"),
    ],
)
def test_wrong_settings_get_one_clear_line(env, reason):
    assert reason in last_error(CONNECT, **env)


def test_no_free_port_is_said(monkeypatch):
    def taken(self, address):
        raise OSError("Address already in use")

    monkeypatch.setattr("socket.socket.bind", taken)
    with pytest.raises(WorkshopError, match="No port is free"):
        workshop.model._listener(0)


def test_a_notebook_shows_the_error_as_one_line():
    error = WorkshopError("Do this.")
    assert error._render_traceback_() == ["WorkshopError: Do this."]
