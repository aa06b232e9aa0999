"""A function of a notebook in a process of its own."""

import asyncio
import os

import pytest

from workshop.model import WorkshopError
from workshop.process import in_own_process


async def test_the_end_of_the_block_lets_it_go_on(tmp_path):
    note = tmp_path / "note"

    async def work(word):
        input("It has begun.\n")  # noqa: ASYNC250
        note.write_text(f"{word} {os.getpid()}")

    async with in_own_process(work, "soup") as child:
        await asyncio.sleep(0.1)
        assert not note.exists()
    assert note.read_text() == f"soup {child.pid}"
    assert child.pid != os.getpid()
    assert child.returncode == 0


async def test_it_can_be_killed(tmp_path):
    note = tmp_path / "note"

    async def work():
        input("It has begun.\n")  # noqa: ASYNC250
        note.write_text("It was not killed.")

    async with in_own_process(work) as child:
        child.kill()
    assert child.returncode
    assert not note.exists()


async def test_an_error_in_the_block_kills_it():
    async def work():
        print("It has begun.", flush=True)
        await asyncio.sleep(3600)

    with pytest.raises(ZeroDivisionError):
        async with in_own_process(work) as child:
            raise ZeroDivisionError
    assert child.returncode


async def test_it_must_print_a_line():
    async def mute():
        pass

    with pytest.raises(WorkshopError, match="mute ended before it printed"):
        async with in_own_process(mute):
            pass
