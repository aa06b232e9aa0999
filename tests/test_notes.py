"""The older text that this course began with is covered completely."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from functools import cache
from pathlib import Path
from textwrap import dedent

import pytest

from tools.kernels import python
from tools.notes import KINDS, PAGE, VERDICTS, Row, page, rows
from workshop.model import practice_model

ROWS = rows()
SNIPPETS = {row.says: row.code for row in ROWS if row.kind == "snippet"}
# How many of each the text has.
NUMBERS = {
    "section": 10,
    "snippet": 5,
    "why": 4,
    "detail": 7,
    "misconception": 4,
    "connection": 6,
}


def test_nothing_of_the_text_is_left_out() -> None:
    assert Counter(row.kind for row in ROWS) == NUMBERS
    assert set(NUMBERS) == set(KINDS)
    assert {row.verdict for row in ROWS} == set(VERDICTS)
    assert len({row.says for row in ROWS}) == len(ROWS)


@cache
def cells_with_output(notebook: Path) -> list[str]:
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    return ["".join(c["source"]) for c in cells if c.get("outputs")]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.says[:40])
def test_a_living_cell_shows_it(row: Row) -> None:
    shown = [c for c in cells_with_output(row.notebook) if row.cell in c]
    assert len(shown) == 1, f"{len(shown)} cells of {row.lesson} have it"


def test_the_page_is_what_the_table_gives() -> None:
    assert PAGE.read_text("utf-8") == page(ROWS), "run python tools/notes.py"


# --- the snippets, verbatim


BASIC, TOKENS, ANSWER, CHAT, PARALLEL = SNIPPETS.values()
# What the later snippets take from the first: all but its run.
GIVEN = BASIC.rpartition("asyncio.run(run())")[0]


def printed(script: str) -> str:
    """Run a script beside a practice model; return what it prints."""
    model = practice_model()
    answers = {"OPENAI_BASE_URL": model.base_url, "OPENAI_API_KEY": model.key}
    done = subprocess.run(
        python(f"import warnings; warnings.simplefilter('ignore')\n{script}"),
        env=os.environ | answers,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def after(snippet: str, last: str) -> str:
    """The script of the first snippet, another one and a last line."""
    return f"{GIVEN}\n{snippet}\n{last}"


def test_basic_async_streaming_runs() -> None:
    lines = printed(BASIC).splitlines()
    assert len(lines) == 1, "nothing streams in `updates` without tools"
    assert lines[0].startswith("{'agent': {'messages': [AIMessage(")


def test_token_streaming_runs() -> None:
    said = printed(after(TOKENS, "asyncio.run(stream_tokens('Who are you?'))"))
    assert said.startswith("I am the practice model")


def test_the_invocation_runs() -> None:
    said = printed(after(ANSWER, "print(asyncio.run(get_answer('Hello')))"))
    assert said.startswith("Hello!")


def test_the_endpoint_runs() -> None:
    ask = """
        import httpx2
        from workshop.serve import serve

        async def ask():
            async with serve(app) as url, httpx2.AsyncClient() as client:
                params = {"message": "Hello"}
                said = await client.post(f"{url}/chat", params=params)
                print(said.text)
                print((await client.post(f"{url}/chat", json=params)).text)

        asyncio.run(ask())
    """
    said, refused = printed(after(CHAT, dedent(ask))).splitlines()
    assert said.startswith("Hello!")
    assert json.loads(refused)["detail"][0]["loc"] == ["query", "message"]


def test_parallel_research_runs() -> None:
    ask = "print(len(set(asyncio.run(parallel_research(['a', 'b', 'c'])))))"
    assert printed(after(PARALLEL, ask)).strip() == "3"
