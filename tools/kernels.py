"""Kernels for the tests and the build: forked from one warm process.

Most of what a short notebook costs is the start of its kernel and the same
imports again. On Linux a zygote does both once. Elsewhere, and with
`--cold-kernels`, a kernel starts as Jupyter starts it.

As a pytest plugin (`-p tools.kernels`) it gives nbval these kernels, and
forks the workers of xdist as well. Kernels talk over IPC where the system
has it: TCP ports are chosen first and bound later, and another process may
take them in between (jupyter_client#487).
"""

from __future__ import annotations

import json
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import nbval.kernel
import pytest
from jupyter_client.manager import AsyncKernelManager, KernelManager
from jupyter_client.provisioning import LocalProvisioner
from nbval.kernel import CURRENT_ENV_KERNEL_NAME, NbvalKernelspecManager

ZYGOTE = "NOTEBOOK_ZYGOTE"  # where the zygote listens; workers inherit it
HAS_IPC = sys.platform != "win32"
# The system libraries of macOS do not survive a fork.
HAS_FORK = sys.platform == "linux"
STARTS = 1 if HAS_IPC else 3
WORKER = Path(__file__).with_name("worker.py")
KERNEL = """
import os
from ipykernel.kernelapp import launch_new_instance
try:
    launch_new_instance()
finally:
    os._exit(0)
"""


_sockets = tempfile.TemporaryDirectory(prefix="kernels-")


class Forked:
    """A process that the zygote forked, in the form of a `Popen`.

    It runs `code` as its main module. What it says goes to `output`, a
    descriptor, or nowhere.
    """

    stdin = stdout = stderr = None

    def __init__(
        self,
        code: str,
        argv: list[str],
        cwd: str,
        env: dict[str, str],
        output: int | None = None,
    ) -> None:
        self.line = socket.socket(socket.AF_UNIX)
        self.line.connect(os.environ[ZYGOTE])
        wish = {"code": code, "argv": argv, "cwd": cwd, "env": env}
        with open(os.devnull, "r+b") as nowhere:
            out = nowhere.fileno() if output is None else output
            streams = [nowhere.fileno(), out, out]
            socket.send_fds(self.line, [b" "], streams)
        self.line.sendall(json.dumps(wish).encode() + b"\n")
        self.pid = int(self.line.makefile("r").readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return None while it runs: its end of the line is then open."""
        if self.returncode is None:
            try:
                os.kill(self.pid, 0)
                ended = self._ended(0)
            except ProcessLookupError:
                ended = True
            if ended:
                self.returncode = 1
                self.line.close()
        return self.returncode

    def _ended(self, timeout: float | None) -> bool:
        line = select.poll()  # `select.select` knows no number above 1023
        line.register(self.line, select.POLLIN)
        return bool(line.poll(None if timeout is None else timeout * 1000))

    def wait(self, timeout: float | None = None) -> int | None:
        if self.poll() is None and not self._ended(timeout):
            raise subprocess.TimeoutExpired("a forked process", timeout)
        return self.poll()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def python(code: str) -> list[str]:
    """Return the command of `python -c CODE`, imports made where possible."""
    warm = ["-IS", str(WORKER)] if ZYGOTE in os.environ else []
    return [sys.executable, *warm, "-c", code]


class WarmProvisioner(LocalProvisioner):
    """Launches a kernel by a fork of the zygote."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        argv = cmd[cmd.index("-m") + 1 :]
        cwd = kwargs.get("cwd") or os.getcwd()
        env = dict(kwargs["env"])
        self.process = Forked(KERNEL, argv, str(cwd), env)
        self.pid = self.pgid = self.process.pid
        return self.connection_info


def manager_of(kind: type[KernelManager]) -> KernelManager:
    """Return a manager for a kernel in this environment, not started."""
    manager = kind(
        kernel_name=CURRENT_ENV_KERNEL_NAME,
        kernel_spec_manager=NbvalKernelspecManager(),
        transport="ipc" if HAS_IPC else "tcp",
    )
    if HAS_IPC:
        manager.ip = os.path.join(_sockets.name, uuid.uuid4().hex[:8])
    if ZYGOTE in os.environ:
        manager.kernel_id = str(uuid.uuid4())
        manager.provisioner = WarmProvisioner(
            kernel_id=manager.kernel_id,
            kernel_spec=manager.kernel_spec,
            parent=manager,
        )
    return manager


def async_manager() -> AsyncKernelManager:
    return manager_of(AsyncKernelManager)


def start_new_kernel(
    startup_timeout: float, kernel_name: str, **kwargs: Any
) -> tuple[KernelManager, Any]:
    """Start a kernel as nbval does; over TCP more than one try is made."""
    for left in reversed(range(STARTS)):
        manager = manager_of(KernelManager)
        manager.start_kernel(**kwargs)
        client = manager.client()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=startup_timeout)
        except RuntimeError:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
            if not left:
                raise
        else:
            return manager, client
    raise AssertionError("unreachable")


@contextmanager
def zygote() -> Iterator[None]:
    """Have kernels forked inside this block, where that can be done."""
    if not HAS_FORK or ZYGOTE in os.environ:
        yield
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.socket(socket.AF_UNIX) as door,
    ):
        path = os.path.join(folder, "zygote")
        door.bind(path)
        door.listen(64)
        process = subprocess.Popen(
            [sys.executable, "-m", "tools.zygote", str(door.fileno())],
            stdin=subprocess.PIPE,
            pass_fds=[door.fileno()],
            start_new_session=True,
        )
        os.environ[ZYGOTE] = path
        try:
            yield
        finally:
            del os.environ[ZYGOTE]
            process.stdin.close()
            process.kill()  # it may be at its imports
            process.wait()


# --- the pytest plugin


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--cold-kernels",
        action="store_true",
        help="start each notebook's kernel from nothing, as Jupyter does",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    nbval.kernel.start_new_kernel = start_new_kernel
    is_worker = hasattr(config, "workerinput")
    if not is_worker and not config.option.cold_kernels:
        running = zygote()
        running.__enter__()
        config.add_cleanup(lambda: running.__exit__(None, None, None))
        if HAS_FORK:
            python = shlex.join([sys.executable, "-IS", str(WORKER)])
            warm = f"popen//python={python}"
            tx = config.getoption("tx", None) or []
            config.option.tx = [warm if x == "popen" else x for x in tx]
