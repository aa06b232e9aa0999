"""Run an async function of a notebook in a process of its own.

    async with in_own_process(work, "soup") as child:
        ...

The block begins when ``work("soup")`` has printed its first line there, which
nobody else sees. It ends when the process has ended. If the function waits in
``input()``, the end of the block lets it go on.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import cloudpickle

from workshop.model import WorkshopError

_RUN = """\
import asyncio, pickle, sys
asyncio.run(pickle.load(sys.stdin.buffer)())
"""


@asynccontextmanager
async def in_own_process(
    function: Callable[..., Awaitable[Any]], *args: Any
) -> AsyncIterator[subprocess.Popen[bytes]]:
    """Start ``function(*args)`` in a new process; give the process.

    What the function uses from the notebook goes along as a copy. An
    exception in the block kills the process. Raises WorkshopError if it ends
    without a word.
    """
    call = cloudpickle.dumps(partial(function, *args))
    start = partial(
        subprocess.Popen,
        [sys.executable, "-P", "-c", _RUN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # keeps the kernel's interrupt away from it
    )
    with await asyncio.to_thread(start) as child:
        try:
            child.stdin.write(call)
            child.stdin.flush()
            if not await asyncio.to_thread(child.stdout.readline):
                name = function.__name__
                raise WorkshopError(f"{name} ended before it printed a line.")
            yield child
            await asyncio.to_thread(child.communicate, b"\n")
        except BaseException:
            child.kill()
            raise
