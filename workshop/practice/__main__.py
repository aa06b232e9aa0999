"""``python -m workshop.practice``: serve the practice model."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import sys
import threading
import time

import uvicorn

from workshop.practice.server import PracticeServer
from workshop.practice.sessions import Pace

LOOPBACK = ("127.0.0.1", "::1", "localhost")
ROUTES = """
routes:  (TOKEN is any word; each has its own meter, faults and pace.
          Without the Authorization header a control means everybody.)

  POST /v1/chat/completions   POST /v1/responses    POST /v1/embeddings
  GET  /v1/models             GET  /v1/models/{id}
    curl -N $URL/v1/chat/completions -H 'Authorization: Bearer TOKEN' \\
      -d '{"model": "gpt-4o", "stream": true,
           "messages": [{"role": "user", "content": "What is LangGraph?"}]}'
"""


def main() -> int:
    """Serve until stopped; the exit code is 2 if the port is taken."""
    options = _options()
    try:
        listener = _listen(options)
    except OSError as error:
        print(
            f"Cannot listen on {options.host} port {options.port}: "
            f"{error.strerror}. Choose another with --port, or 0 for any.",
            file=sys.stderr,
        )
        return 2
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, lambda *_: sys.exit(0))
    _raise_file_limit()
    if options.with_parent:
        _end_with_parent()
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    print(f"practice model at http://{shown}:{port}/v1", flush=True)
    pace = Pace(options.ttft, options.per_token, options.jitter, options.seed)
    config = uvicorn.Config(
        PracticeServer(pace),
        interface="asgi3",
        lifespan="off",
        ws="none",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=4096,
        timeout_keep_alive=120,
        timeout_graceful_shutdown=1,
    )
    uvicorn.Server(config).run(sockets=[listener])
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m workshop.practice",
        description=(
            "An OpenAI-compatible model to practise with. It answers from "
            "a file, at a pace that you choose, and counts what it did."
        ),
        epilog=ROUTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    option = parser.add_argument
    option("--host", default="127.0.0.1", help="default: %(default)s")
    option("--port", type=int, default=0, help="default: any free port")
    option("--ttft", type=float, default=0.25)
    option("--per-token", type=float, default=0.04)
    option("--jitter", type=float, default=0.0)
    option("--seed", type=int, default=0)
    option("--fd", type=int)
    option("--with-parent", action="store_true")
    return parser.parse_args()


def _listen(options: argparse.Namespace) -> socket.socket:
    """A listening socket; OSError if the address cannot be had."""
    if options.fd is not None:
        return socket.socket(fileno=options.fd)
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listener = socket.socket(family)
    if os.name == "posix":  # elsewhere it would share a port in use
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((options.host, options.port))
    listener.listen(4096)
    return listener


def _raise_file_limit() -> None:
    """Let the process hold as many connections as it may."""
    try:
        import resource
    except ImportError:  # not on Windows, which has no such limit
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


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
