"""``python -m workshop.practice``: serve the practice model."""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import signal
import socket
import sys
import threading
import time
from typing import Any

import uvicorn

from workshop.practice.server import PracticeServer
from workshop.practice.sessions import Pace, fault_values

PATIENCE = 1.0  # seconds to end in good order
SWITCH = 0.001  # seconds that a thread works while the loop waits
EVERYWHERE = ("0.0.0.0", "::")
PACE = (
    ("ttft", "S", "seconds to the first token"),
    ("per_token", "S", "seconds for each token"),
    ("jitter", "J", "delay each token by up to J times --per-token"),
    ("seed", "N", "of the jitter"),
    ("context_tokens", "N", "refuse a prompt with more tokens"),
)
DESCRIPTION = """\
An OpenAI-compatible model to practise with: it answers from a file, token
by token, counts its requests and fails on demand. The first line that it
prints is "practice model at URL", where URL is the base URL for a client."""
HELP = """
A session is whoever sends the same bearer token, which may be any word. It
has its own meter, faults and pace. Without a token, a control is about all
sessions.

the model (here URL is that base URL without its /v1):
  curl -N $URL/v1/chat/completions -H 'Authorization: Bearer me' -d '
    {"model": "gpt-4o", "stream": true,
     "messages": [{"role": "user", "content": "What is LangGraph?"}]}'
  curl -N $URL/v1/responses -H 'Authorization: Bearer me' -d '
    {"model": "gpt-4o", "stream": true, "input": "What is LangGraph?"}'
  curl $URL/v1/embeddings -H 'Authorization: Bearer me' -d '
    {"model": "text-embedding-3-small", "input": "What is LangGraph?"}'
  curl $URL/v1/models
  curl $URL/v1/models/gpt-4o

its meter (a refused or failed request counts too; controls do not):
  curl $URL/meter -H 'Authorization: Bearer me'
  curl -X POST $URL/meter/reset -H 'Authorization: Bearer me'

its pace, in seconds; the parts that you leave out stay as they are:
  curl $URL/pace -H 'Authorization: Bearer me' -d '
    {"ttft": 0.25, "per_token": 0.04, "jitter": 0.0, "seed": 0,
     "context_tokens": 128000}'

its faults, one request each:
  rate_limit, server_error, refuse      instead of an answer
  cut, stall, error_event, no_done      on the way (after_tokens=)
  length, content_filter                it ends early (after_tokens=)
  refusal, unknown_tool, doubled_name   in the answer
  reasoning                             before it (seconds=)
  curl $URL/faults -H 'Authorization: Bearer me' -d '
    {"kind": "rate_limit", "times": 2, "retry_after": 0.5}'
  curl $URL/faults -H 'Authorization: Bearer me' -d '
    {"kind": "stall", "after_tokens": 3, "seconds": 2}'
  curl -X DELETE $URL/faults -H 'Authorization: Bearer me'
  or with one request: -H 'x-practice-fault: cut;after_tokens=3'

It follows schemas, obeys plain instructions, and refuses what OpenAI refuses,
in its words; an unknown model is accepted. A choice that a session asks for
a thirteenth time in the same words turns to the next one, so that a graph
comes to its end. Of a session it keeps 200 responses and their items.

It understands English by a few rules, and a prompt of 2,000 characters by
its two ends. Left out, and refused where a request asks for it: tools that
are no functions (custom, web search, ...) and allowed_tools; functions and
function_call, which came before tools; audio, prediction, web_search_options;
more than 8 choices; background, conversation and prompt in Responses, and
getting a response again. Left out in silence: pictures and files, which it
does not see; logit_bias, seed and temperature, for it draws nothing; other
languages, translations, poems, and reasoning where no fault asks for it.

OpenAIEmbeddings() and trim_messages(token_counter=ChatOpenAI(...)) fetch a
tokenizer from the network. Offline, use check_embedding_ctx_length=False and
token_counter="approximate".
"""


def main() -> int:
    """Serve until stopped; the exit code is 2 if the port is taken."""
    options = _options()
    try:
        listener = _listen(options)
    except OSError as error:
        print(
            f"Cannot listen on {options.host} port {options.port}: "
            f"{error.strerror}. Choose another --port, or 0 for any.",
            file=sys.stderr,
        )
        return 2
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, lambda *_: sys.exit(0))
    if options.with_parent:
        _end_with_parent()
    _raise_file_limit()
    _collect_rarely()
    _announce(listener)
    sys.setswitchinterval(SWITCH)
    _Server(_config(options)).run(sockets=[listener])
    return 0


class _Server(uvicorn.Server):
    """Ends soon after it is told to, whatever it is doing."""

    def handle_exit(self, sig: int, frame: Any) -> None:
        super().handle_exit(sig, frame)
        end = threading.Timer(PATIENCE, os._exit, (0,))
        end.daemon = True
        end.start()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m workshop.practice",
        description=DESCRIPTION,
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    option = parser.add_argument
    option(
        "--host",
        default="127.0.0.1",
        help="address to listen on; 0.0.0.0 opens it to the network, where "
        "no key is asked (default: this machine only)",
    )
    option("--port", type=int, default=0, help="default: any that is free")
    for field, unit, said in PACE:
        default = getattr(Pace, field)
        option(
            f"--{field.replace('_', '-')}",
            type=type(default),
            default=default,
            metavar=unit,
            help=f"{said} (default: %(default)s)",
        )
    option(
        "--allow-origin",
        metavar="URL",
        help="let a web page of this origin use the server, or * for any "
        "(default: browsers let no other page)",
    )
    option(
        "--fault",
        action="append",
        default=[],
        metavar="F",
        help="for the first request, whoever sends it: 'cut;after_tokens=3', "
        "with times=2 for two; may be repeated",
    )
    option(
        "--fd",
        type=int,
        metavar="N",
        help="serve on this inherited socket, which listens already",
    )
    option(
        "--with-parent",
        action="store_true",
        help="end when stdin ends or the parent process is gone",
    )
    options = parser.parse_args()
    try:
        pace = Pace(*(getattr(options, field) for field, _, _ in PACE))
        options.server = PracticeServer(pace, options.allow_origin)
        for text in options.fault:
            options.server.sessions.whole.faults.add(fault_values(text))
    except ValueError as error:
        parser.error(str(error))
    return options


def _listen(options: argparse.Namespace) -> socket.socket:
    """A listening socket; OSError if the address cannot be had."""
    if options.fd is not None:
        return socket.socket(fileno=options.fd)
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listener = socket.socket(family)
    if os.name == "posix":  # on Windows it would share a port in use
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((options.host, options.port))
    except OverflowError:
        raise OSError(None, "a port is a number up to 65535") from None
    listener.listen(4096)
    return listener


def _announce(listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    shown = _own_address() if host in EVERYWHERE else host
    shown = f"[{shown}]" if ":" in shown else shown
    print(f"practice model at http://{shown}:{port}/v1", flush=True)
    if host in EVERYWHERE:
        print(
            "Anyone on the network who reaches this machine can use it: "
            "no key is asked.",
            flush=True,
        )


def _own_address() -> str:
    """This machine's address in its network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:  # no network
            return "127.0.0.1"
        return probe.getsockname()[0]


def _collect_rarely() -> None:
    """Keep the garbage collector from halting all streams at once.

    With 1,000 streams a full collection takes some 50 ms and finds next
    to nothing: serving makes hardly any cycles.
    """
    gc.freeze()
    gc.set_threshold(200_000)


def _raise_file_limit() -> None:
    """Let the process hold as many connections as it may."""
    with contextlib.suppress(ImportError, ValueError):  # none on Windows
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _config(options: argparse.Namespace) -> uvicorn.Config:
    return uvicorn.Config(
        options.server,
        interface="asgi3",
        lifespan="off",
        ws="none",
        log_config=None,
        log_level="critical",  # the server says itself what went wrong
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=4096,
        timeout_keep_alive=120,  # clients keep idle connections a while
        timeout_graceful_shutdown=0,
    )


def _end_with_parent() -> None:
    """End this process when stdin ends or, on Unix, the parent changes."""
    parent = os.getppid()

    def read_to_end() -> None:
        with contextlib.suppress(OSError):  # stdin is closed
            while os.read(0, 1024):
                pass
        os._exit(0)

    def watch_parent() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(0)

    threading.Thread(target=read_to_end, daemon=True).start()
    if os.name == "posix":
        threading.Thread(target=watch_parent, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
