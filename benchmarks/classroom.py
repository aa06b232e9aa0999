"""A class on one practice model: python benchmarks/classroom.py [LEARNERS]

Each learner is a kernel of its own. All start at once, run lesson 01 from top
to bottom, then lab 01 with its solutions, and share one practice model. It
prints how many pass all checks, after how long, and what memory they take.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import workshop.nofmt  # noqa: F401  (first, or nbformat takes seconds)

# isort: split
import nbformat
import psutil
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parent.parent
LESSON = ROOT / "notebooks" / "01_sync_vs_async.ipynb"
LAB = ROOT / "solutions" / "01_sync_vs_async.ipynb"
MODEL = [sys.executable, "-m", "workshop.practice", "--with-parent"]


def main() -> None:
    """Read the command line, let all begin, print what became of them."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    pipe = subprocess.PIPE
    with subprocess.Popen(MODEL, stdin=pipe, stdout=pipe, text=True) as model:
        url = model.stdout.readline().split()[-1].removesuffix("/v1")
        os.environ |= {"WORKSHOP_MODEL": url, "WORKSHOP_PROGRESS": ""}
        done = asyncio.run(everybody(count))
        shared = psutil.Process(model.pid).memory_info().rss
        model.stdin.close()  # it stops
    passed = [each for each in done if each[0]]
    seconds = [each[1] for each in done]
    memory = [each[2] for each in done]
    print(f"{len(passed)} of {count} passed every check")
    print(f"median {statistics.median(seconds):.0f} s, all after", end=" ")
    print(f"{max(seconds):.0f} s")
    print(f"a kernel: {max(memory) / 1e6:.0f} MB at most;", end=" ")
    print(f"the practice model: {shared / 1e6:.0f} MB")


async def everybody(count: int) -> list[tuple[bool, float, int]]:
    """Run all learners side by side."""
    return await asyncio.gather(*(learner() for _ in range(count)))


async def learner() -> tuple[bool, float, int]:
    """Do both: did the lab's checks pass, seconds, bytes of a kernel."""
    start = time.perf_counter()
    passed, memory = False, 0
    for path in (LESSON, LAB):
        book = nbformat.read(path, as_version=4)
        client = NotebookClient(book, timeout=300, startup_timeout=300)
        client.resources = {"metadata": {"path": str(path.parent)}}
        async with client.async_setup_kernel():
            with suppress(CellExecutionError):
                for number, cell in enumerate(book.cells):
                    await client.async_execute_cell(cell, number)
                passed = verdicts(book) == {"✅"}
            kernel = psutil.Process(client.km.provisioner.pid)
            memory = max(memory, kernel.memory_full_info().uss)
    return passed, time.perf_counter() - start, memory


def verdicts(book: nbformat.NotebookNode) -> set[str]:
    """Return the marks that begin the lines of its checks."""
    found = set()
    for cell in book.cells:
        for output in cell.get("outputs", []):
            found |= {output.get("text", "")[:1]} & set("✅❌⬜")
    return found


if __name__ == "__main__":
    main()
