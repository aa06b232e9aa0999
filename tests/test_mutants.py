"""The robot that breaks solutions: what it changes, and what it reports."""

from __future__ import annotations

import tomllib

import pytest

from tools import mutants
from tools.tasks import TASKS

CELL = """
async def banquet(graph, orders: list[str]):
    stoves = asyncio.Semaphore(5)

    async def answer(order):
        async with stoves:
            return await graph.ainvoke(order)

    try:
        if orders is None:
            return []
        return await asyncio.gather(*map(answer, orders), loud=True)
    except (KeyError, TypeError):
        raise
    finally:
        close()
"""


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return dict(mutants.mutants(CELL, "banquet"))


@pytest.mark.parametrize(
    "words",
    [
        "always the first `orders`",
        "one for all calls: stoves = asyncio.Semaphore(5)",
        "no limit: asyncio.Semaphore(5)",
        "6, not 5",
        "only the body of async with stoves:",
        "not: orders is None",
        "as truth: orders is None",
        "without close()",
        "close() not in a finally",
        "except Exception, not (KeyError, TypeError)",
        "except without TypeError",
        "no await: await graph.ainvoke(order)",
        "False, not True",
        "one_by_one for asyncio.gather(*map(answer, orders), loud=True)",
    ],
)
def test_what_it_changes(made: dict[str, str], words: str) -> None:
    assert words in made
    compile(made[words], "cell", "exec")


def test_each_mutant_is_another(made: dict[str, str]) -> None:
    assert len(set(made.values())) == len(made) > 30


async def test_it_finds_what_a_judge_accepts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from workshop import checks

    async def only_asks_for_a_graph(answer):
        answer(llm=None, read_menu=None, saver=None)
        return "3 of 3"

    monkeypatch.setattr(checks, "LIMIT", mutants.LIMIT)
    monkeypatch.setattr(checks, "judge_of", lambda _: only_asks_for_a_graph)
    number, accepted = await mutants.survivors("17.1")
    assert "always the first `llm`" in accepted
    assert 0 < len(accepted) < number, "one that does not even build"


def test_every_reason_is_for_a_task() -> None:
    listed = tomllib.loads(mutants.LISTED.read_text("utf-8"))
    assert set(listed) <= set(TASKS)
    assert all(all(reasons.values()) for reasons in listed.values())


@pytest.mark.parametrize(
    ("changed", "tasks"),
    [
        (["source/labs/17_x.py", "README.md"], ["17"]),
        (["workshop/checks/lab03.py", "tests/wrong/lab09.py"], ["03"]),
        (["README.md"], ["none"]),
        (["README.md", "workshop/checks/kit.py"], []),
    ],
)
def test_the_tasks_that_a_change_touches(
    changed: list[str], tasks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutants, "changed_since", lambda _: changed)
    assert mutants.touched("main") == tasks
