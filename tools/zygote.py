"""A process that has imported what lessons import, and forks others.

    python -m tools.zygote FD

For each client of the listening UNIX socket FD it forks one process: a
kernel, a worker of the tests, a service. The client sends three descriptors
(for 0, 1 and 2) and a line of JSON (`code` to run, its `argv`, `cwd`, `env`),
and reads the process id. The connection then belongs to the new process: each
end sees by it that the other has died, and the client that the code raised.
The imports are made for the first client. The zygote itself ends with its
standard input.

Nothing here may start a thread or a ZeroMQ context before the fork.
"""

import gc
import importlib
import json
import os
import random
import selectors
import signal
import socket
import sys
import threading
from contextlib import suppress
from types import ModuleType

IMPORTS = (
    "workshop.nofmt",
    "pytest",
    "nbformat",
    "ipykernel.kernelapp",
    "ipykernel.ipkernel",
    "ipykernel.zmqshell",
    "IPython.core.completer",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "matplotlib_inline.backend_inline",
    "langchain.agents",
    "langchain_openai",
    "langgraph.graph",
    "langgraph.prebuilt",
    "langgraph.checkpoint.sqlite.aio",
    "langgraph.checkpoint.postgres.aio",
    "psycopg_pool",
    "pydantic_settings",
    "pydantic_ai.models.openai",
    "langgraph_supervisor",
    "aiohttp",
    "fastapi.sse",
    "httpx2",
    "uvicorn",
    "websockets",
    "ipywidgets",
    "mistune",
    "workshop.checks",
    "workshop.observe",
)


def main(door: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # kernels leave no zombie
    wait_for = selectors.DefaultSelector()
    wait_for.register(door, selectors.EVENT_READ)
    wait_for.register(sys.stdin, selectors.EVENT_READ)
    warm = False
    while True:
        ready = [key.fileobj for key, _ in wait_for.select()]
        if sys.stdin in ready:
            return
        client, _ = door.accept()
        if not warm:
            warm_up()
            warm = True
        if os.fork() == 0:
            wait_for.close()
            door.close()
            become(client)
            return
        client.close()


def warm_up() -> None:
    for name in IMPORTS:
        with suppress(ImportError):  # then the notebook says what is missing
            importlib.import_module(name)
    del sys.modules["workshop.nofmt"]  # pytest imports its plugins itself
    if threading.active_count() > 1:
        sys.exit(f"threads before the fork: {threading.enumerate()}")
    gc.collect()
    gc.freeze()  # so that a collection copies no page of what is shared


def become(client: socket.socket) -> None:
    """Be the process that the client asks for, until its code ends."""
    os.setsid()  # a group of its own, so that an interrupt meets only it
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    client.setblocking(True)
    _, streams, _, _ = socket.recv_fds(client, 1, 3)
    wish = json.loads(client.makefile("r", encoding="utf-8").readline())
    client.sendall(f"{os.getpid()}\n".encode())
    threading.Thread(target=die_with, args=[client], daemon=True).start()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdout.reconfigure(line_buffering=True)
    os.chdir(wish["cwd"])
    os.environ.clear()
    os.environ.update(wish["env"])
    sys.argv = wish["argv"]
    path = wish["env"].get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:1] = [folder for folder in path if folder]
    random.seed()
    main = sys.modules["__main__"] = ModuleType("__main__")
    try:
        exec(wish["code"], vars(main))
    except BaseException as error:
        if not isinstance(error, SystemExit) or error.code:
            client.sendall(b"failed\n")
        raise


def die_with(client: socket.socket) -> None:
    with suppress(OSError):
        client.recv(1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
