"""The model that the notebooks talk to, and what it counted.

``connect()`` starts the practice model as a process of its own and points
``ChatOpenAI`` at it. ``WORKSHOP_MODEL`` moves the same cells elsewhere:

=====================  ================================================
unset or ``practice``  a practice model on this machine; no key is used
``http://host:port``   a practice model that a class shares
``openai``             what ``OPENAI_BASE_URL``, ``OPENAI_API_KEY`` and
                       ``OPENAI_MODEL`` name: OpenAI, Ollama, ...
=====================  ================================================
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass, field, fields
from typing import Any

from workshop.tracebacks import shorten_tracebacks

OPENAI = "https://api.openai.com/v1"
LOOPBACK = "127.0.0.1"
# These would override the address, or add an account to a request.
OTHER_SETTINGS = (
    "OPENAI_API_BASE",
    "OPENAI_PROXY",
    "OPENAI_ORG_ID",
    "OPENAI_ORGANIZATION",
    "OPENAI_PROJECT_ID",
    "OPENAI_ADMIN_KEY",
)


class WorkshopError(RuntimeError):
    """Says in one line what is wrong and what to do about it."""

    def _render_traceback_(self) -> list[str]:  # IPython shows just the line
        return [f"WorkshopError: {self}"]


@dataclass
class Counts:
    """What the model counted; the evidence of most lessons."""

    requests: int = 0
    in_flight: int = 0
    peak_in_flight: int = 0
    tokens_sent: int = 0
    cut_off: int = 0

    def __str__(self) -> str:
        requests = "request" if self.requests == 1 else "requests"
        return (
            f"{self.requests} {requests}, at most {self.peak_in_flight} "
            f"in flight, {self.tokens_sent} tokens sent, "
            f"{self.cut_off} cut off"
        )


class Meter(Counts):
    """Counts since it was made; ``with`` reads them again at its end."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self._model = model
        self._take(model._control("POST", "/meter/reset"))

    def read(self) -> Meter:
        """Ask the server for the present counts, and return itself."""
        self._take(self._model._control("GET", "/meter"))
        return self

    def _take(self, counts: dict[str, int]) -> None:
        for count in fields(Counts):
            setattr(self, count.name, counts[count.name])

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.read()


class ClientMeter(Counts):
    """The same counts for a real model, seen from this kernel."""

    def __init__(self) -> None:
        from workshop.observe import Timeline

        super().__init__()
        self._timeline = Timeline()
        self._timeline.__enter__()

    def read(self) -> ClientMeter:
        """Count the calls up to now, and return itself."""
        calls = self._timeline.calls
        self.requests = len(calls)
        self.in_flight = sum(call.end is None for call in calls)
        self.peak_in_flight = self._timeline.peak
        self.tokens_sent = sum(len(call.tokens) for call in calls)
        self.cut_off = sum(call.outcome == "cut off" for call in calls)
        return self

    def __enter__(self) -> ClientMeter:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._timeline.__exit__(*exc_info)
        self.read()


@dataclass(frozen=True)
class Model:
    """Where requests go, and the controls of the model there.

    ``name`` is for ``ChatOpenAI(model=...)``; ``key`` identifies this
    session to a practice model, which counts each session apart.
    """

    name: str
    base_url: str
    key: str = field(repr=False)
    practice: bool = True

    def meter(self) -> Meter | ClientMeter:
        """Start counting from zero: ``with model.meter() as meter:``."""
        return Meter(self) if self.practice else ClientMeter()

    def fault(self, kind: str, **details: Any) -> None:
        """Make the next request go wrong.

        ``kind`` says how. ``after_tokens`` is half the answer if you do
        not say, but 0 for cut and stall; times are in seconds.

        ===============  ==============================================
        rate_limit       429 with ``retry_after`` (1)
        server_error     500
        refuse           the connection is dropped, nothing is answered
        cut              it is dropped ``after_tokens``
        stall            nothing comes for ``seconds`` (no end)
                         ``after_tokens``
        error_event      an error object ends a stream that began with
                         200, ``after_tokens``
        no_done          the stream ends ``after_tokens`` without a finish
                         reason and ``[DONE]``; one that is not streamed
                         comes whole
        length           it ends ``after_tokens``, like one that reaches
                         ``max_tokens``; also inside a call's arguments
        content_filter   it ends ``after_tokens``, filtered
        refusal          the model refuses to answer
        unknown_tool     it calls a tool that is not on offer
        doubled_name     each tool's name is streamed twice (by chat
                         completions: Responses never stream it)
        reasoning        ``reasoning_content`` comes first, for
                         ``seconds`` (or at the pace of the answer)
        ===============  ==============================================

        ``times`` is for how many requests (1). ValueError says what is
        wrong with the details.
        """
        self._control("POST", "/faults", {"kind": kind, **details})

    def pace(self, **pace: float) -> None:
        """Set ``ttft`` and ``per_token`` (seconds) of later answers.

        A prompt of more than ``context_tokens`` (128,000) is refused.
        """
        self._control("POST", "/pace", pace)

    def _control(self, method: str, path: str, body: Any = None) -> Any:
        if not self.practice:
            raise WorkshopError(
                "This needs the practice model. Unset WORKSHOP_MODEL, "
                "restart the kernel and run the notebook again."
            )
        request = urllib.request.Request(
            self.base_url.removesuffix("/v1") + path,
            method=method,
            headers={"Authorization": f"Bearer {self.key}"},
            data=None if body is None else json.dumps(body).encode(),
        )
        try:
            with _direct.open(request, timeout=10) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            message = json.load(error)["error"]["message"]
            raise ValueError(message) from None
        except OSError as error:
            raise WorkshopError(
                "The practice model does not answer "
                f"({getattr(error, 'reason', error)}). "
                "Run the cell with connect() again."
            ) from None


# A practice model is not reached through a proxy.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class _Server:
    """The practice model's process; there is at most one per kernel."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None
        self.port = 0
        self.lock = threading.Lock()

    def ensure(self) -> str:
        """Start it if it is not running; return its base URL."""
        with self.lock:
            if self.process is None or self.process.poll() is not None:
                self._start()
            return f"http://{LOOPBACK}:{self.port}/v1"

    def stop(self) -> None:
        """Stop it and wait for its end; ``ensure`` starts it again."""
        with self.lock:
            process, self.process = self.process, None
        if process is not None:
            process.stdin.close()
            process.wait(10)

    def _start(self) -> None:
        command = [sys.executable, "-P", "-m", "workshop.practice"]
        command += ["--with-parent"]  # it stops when its stdin ends
        pipes = {
            "stdin": subprocess.PIPE,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
        }
        # Both branches keep the kernel's interrupt away from the child.
        with _listener(self.port) as listener:
            self.port = listener.getsockname()[1]
            if sys.platform != "win32":
                # The child inherits the listening socket. Early calls wait
                # in its queue, so nobody has to wait for the start.
                fd = listener.fileno()
                self.process = subprocess.Popen(
                    [*command, "--fd", str(fd)],
                    pass_fds=[fd],
                    start_new_session=True,
                    **pipes,
                )
        if sys.platform == "win32":
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port)],
                creationflags=subprocess.CREATE_NEW_PROCESS_GROUP,
                **pipes,
            )
            self.process.stdout.readline()  # the line that it is ready
        threading.Thread(
            target=self._report_end, args=(self.process,), daemon=True
        ).start()

    def _report_end(self, process: subprocess.Popen[str]) -> None:
        said = process.stderr.read().strip().splitlines()
        code = process.wait()
        if process is self.process:  # nobody asked it to stop
            why = said[-1] if said else f"exit code {code}"
            print(
                f"The practice model stopped ({why}). "
                "Run the cell with connect() again.",
                file=sys.stderr,
            )


def _listener(port: int) -> socket.socket:
    """A listening socket on ``port`` if that is free, else on any other."""
    for candidate in (port, 0):
        listener = socket.socket()
        if sys.platform != "win32":  # there it would share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, candidate))
            listener.listen(4096)
            return listener
        except OSError:
            listener.close()
    raise WorkshopError(
        "No port is free on 127.0.0.1. Close some programs, or let this "
        "machine open more files and sockets."
    )


_server = _Server()
_connected: Model | None = None


def practice_model() -> Model:
    """A model on the practice server with a meter, faults and pace of its
    own. It leaves the environment alone: exercise checks use it, whatever
    the notebook is connected to."""
    base_url = _shared_url() or _server.ensure()
    return Model("gpt-4o", base_url, f"practice-{secrets.token_hex(8)}")


def _shared_url() -> str | None:
    """The base URL of a class's practice model, if one is set."""
    where = os.environ.get("WORKSHOP_MODEL", "")
    if not where.startswith("http"):
        return None
    return where.rstrip("/").removesuffix("/v1") + "/v1"


def connect() -> Model:
    """Point ``ChatOpenAI`` in this process at a model; print which one.

    A second call changes nothing, but brings a practice model back that
    has stopped. Without ``WORKSHOP_MODEL=openai`` no request leaves this
    machine, also when an ``OPENAI_API_KEY`` is set. In a notebook it also
    shortens tracebacks.

    Raises WorkshopError with one line on what to do: no key, nobody
    answers at that address, an unknown ``WORKSHOP_MODEL``.
    """
    global _connected
    where = os.environ.get("WORKSHOP_MODEL", "practice")
    if where == "openai":
        _connected = _real_model()
        print(f"{_connected.name} at {_connected.base_url}: real requests.")
    elif where == "practice" or _shared_url():
        _connected = _practice(_connected)
        place = _shared_url() or "this machine"
        print(f"Practice model on {place}: no key is used, nothing to pay.")
    else:
        raise WorkshopError(
            f"WORKSHOP_MODEL is {where!r}. Use practice, openai, or the "
            "address of a shared practice model (http://host:port)."
        )
    _wake_loop_on_interrupt()
    shorten_tracebacks()
    return _connected


def _practice(before: Model | None) -> Model:
    """Start or keep the practice model, and set the client's variables."""
    model = practice_model()
    if before is not None and before.base_url == model.base_url:
        model = before
    if _shared_url():
        _must_answer(model)
    for name in OTHER_SETTINGS:
        os.environ.pop(name, None)
    os.environ["OPENAI_BASE_URL"] = model.base_url
    os.environ["OPENAI_API_KEY"] = model.key
    if urllib.request.getproxies():
        _bypass_proxy(model.base_url.split("/")[2].rsplit(":", 1)[0])
    return model


def _bypass_proxy(host: str) -> None:
    """Let requests to ``host`` go straight there, past the proxy that is
    set. Without the last line ChatOpenAI warns about it on each use."""
    for name in ("NO_PROXY", "no_proxy"):
        known = filter(None, os.environ.get(name, "").split(","))
        os.environ[name] = ",".join(dict.fromkeys([*known, host]))
    os.environ["LANGCHAIN_OPENAI_TCP_KEEPALIVE"] = "0"


def _real_model() -> Model:
    """What the usual OPENAI_* variables name, after a look that it is there.

    A server of your own, such as Ollama, needs no key.
    """
    base = os.environ.get("OPENAI_API_BASE") or os.environ.get(
        "OPENAI_BASE_URL", OPENAI
    )
    if base == OPENAI and not os.environ.get("OPENAI_API_KEY"):
        raise WorkshopError(
            "WORKSHOP_MODEL=openai needs OPENAI_API_KEY. Set it before you "
            "start JupyterLab, or unset WORKSHOP_MODEL to practise without."
        )
    key = os.environ.setdefault("OPENAI_API_KEY", "none")
    name = os.environ.get("OPENAI_MODEL", "gpt-4o")
    model = Model(name, base.rstrip("/"), key, practice=False)
    _must_answer(model)
    return model


def _must_answer(model: Model) -> None:
    """Raise WorkshopError unless a server answers and takes the key."""
    request = urllib.request.Request(
        f"{model.base_url}/models",
        headers={"Authorization": f"Bearer {model.key}"},
    )
    opener = _direct if model.practice else urllib.request.build_opener()
    try:
        opener.open(request, timeout=10).close()
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            raise WorkshopError(
                f"{model.base_url} refuses the key in OPENAI_API_KEY."
            ) from None
    except (OSError, ValueError) as error:
        raise WorkshopError(
            f"Nobody answers at {model.base_url} "
            f"({getattr(error, 'reason', error)}). Is the address right "
            "and the server running?"
        ) from None


def _wake_loop_on_interrupt() -> None:
    """Let the stop button work at once, also while a cell only waits.

    ipykernel's handler asks the event loop to cancel the cell, but a signal
    does not wake a loop that sleeps (ipykernel issue 881). It wakes with the
    next token, and then Python 3.11's wait_for, around each token in
    langchain-openai, returns that token and forgets the cancellation. So
    a byte in a socket wakes the loop with the signal.
    """
    if _wakers or threading.current_thread() is not threading.main_thread():
        return
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # a script: Ctrl-C works there
        return
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    try:
        loop.add_reader(reader, reader.recv, 4096)
    except NotImplementedError:  # Windows' own loop wakes by itself
        return
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    _wakers.extend((reader, writer))


_wakers: list[socket.socket] = []  # open as long as the process
