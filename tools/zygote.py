"""A process that has imported what lessons import, and forks kernels.

    python -m tools.zygote FD

For each client of the listening UNIX socket FD it forks one kernel. The
client sends a line of JSON (`argv` of the kernel, `cwd`, `env`) and reads the
process id. The connection then belongs to the kernel: each end sees the other
one's death by it. The imports are made for the first client. The zygote
itself ends with its standard input.

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

IMPORTS = (
    "workshop.nofmt",
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
            kernel(client)
        client.close()


def warm_up() -> None:
    for name in IMPORTS:
        with suppress(ImportError):  # then the notebook says what is missing
            importlib.import_module(name)
    if threading.active_count() > 1:
        sys.exit(f"threads before the fork: {threading.enumerate()}")
    gc.collect()
    gc.freeze()  # so that a collection copies no page of what is shared


def kernel(client: socket.socket) -> None:
    """Become the kernel that the client asks for."""
    os.setsid()  # a group of its own, so that an interrupt meets only it
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    client.setblocking(True)
    wish = json.loads(client.makefile("r", encoding="utf-8").readline())
    client.sendall(f"{os.getpid()}\n".encode())
    threading.Thread(target=die_with, args=[client], daemon=True).start()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    os.chdir(wish["cwd"])
    os.environ.clear()
    os.environ.update(wish["env"])
    sys.argv = wish["argv"]
    del sys.path[0]  # as ipykernel_launcher does
    random.seed()
    from ipykernel.kernelapp import launch_new_instance

    try:
        launch_new_instance()
    finally:
        os._exit(0)


def die_with(client: socket.socket) -> None:
    with suppress(OSError):
        client.recv(1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
