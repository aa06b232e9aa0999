"""Kernels forked from a warm process behave as kernels that Jupyter starts."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest
from jupyter_client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from tools import kernels

pytestmark = pytest.mark.skipif(
    not kernels.HAS_FORK, reason="kernels are forked on Linux only"
)
Kernel = tuple[KernelManager, BlockingKernelClient]


@pytest.fixture(scope="module")
def warm() -> Iterator[None]:
    with kernels.zygote():
        yield


@pytest.fixture
def kernel(warm, tmp_path) -> Iterator[Kernel]:
    manager, client = kernels.start_new_kernel(
        40, "", cwd=str(tmp_path), env=os.environ | {"MARK": "yes"}
    )
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def printed(client: BlockingKernelClient, code: str) -> str:
    """Run a cell and return what it printed, or the name of its error."""
    text = []

    def note(message: dict) -> None:
        content = message["content"]
        text.append(content.get("text", content.get("ename", "")))

    client.execute_interactive(code, timeout=120, output_hook=note)
    return "".join(text).strip()


def gone(process: int) -> bool:
    for _ in range(600):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_it_has_the_folder_and_environment_of_its_notebook(kernel, tmp_path):
    code = """
import os, sys
print(os.getcwd(), os.environ["MARK"], "" in sys.path)
"""
    assert printed(kernel[1], code) == f"{tmp_path} yes True"


def test_it_is_warm_and_talks_over_ipc(kernel):
    code = "import sys; print('langgraph.graph' in sys.modules)"
    assert printed(kernel[1], code) == "True"
    assert kernel[0].transport == "ipc"


def test_a_script_finds_its_imports_made_and_fails_as_it_does(warm):
    code = "import sys; print('langgraph.graph' in sys.modules); "
    for end, status in ("", 0), ("sys.exit(0)", 0), ("sys.exit(3)", 1):
        command = kernels.python(code + end)
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.stdout, done.returncode) == ("True\n", status)


def test_two_kernels_draw_other_random_numbers(warm, kernel, tmp_path):
    code = "import random; print(random.random())"
    other, client = kernels.start_new_kernel(40, "", cwd=str(tmp_path))
    try:
        assert printed(kernel[1], code) != printed(client, code)
    finally:
        client.stop_channels()
        other.shutdown_kernel(now=True)


def test_an_interrupt_meets_this_kernel_alone(kernel):
    manager, client = kernel
    waiting = client.execute("import time; print('now'); time.sleep(60)")
    while True:
        message = client.get_iopub_msg(timeout=120)
        if message["content"].get("text") == "now\n":
            break
    manager.interrupt_kernel()
    while True:
        reply = client.get_shell_msg(timeout=120)
        if reply["parent_header"]["msg_id"] == waiting:
            break
    assert reply["content"]["ename"] == "KeyboardInterrupt"
    assert printed(client, "print(1)") == "1"


def test_a_killed_kernel_is_noticed_and_starts_again(kernel):
    manager, client = kernel
    pid = int(printed(client, "import os; print(os.getpid())"))
    os.kill(pid, signal.SIGKILL)
    assert gone(pid)
    assert not manager.is_alive()
    manager.restart_kernel(now=True)
    client.wait_for_ready(timeout=120)
    assert int(printed(client, "import os; print(os.getpid())")) != pid


def test_it_dies_with_the_process_that_asked_for_it(kernel):
    pid = int(printed(kernel[1], "import os; print(os.getpid())"))
    kernel[0].provisioner.process.line.close()
    assert gone(pid)
