"""The contract of every task, in lessons and in labs.

The stub counts as not started, the solution passes, and each wrong answer of
tests/wrong/ gets the one sentence that names its mistake.
"""

from __future__ import annotations

import ast
import asyncio
import gc
import importlib
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.wrong import changes, told
from tools.build import ROOT
from tools.tasks import (
    SOURCES,
    TASKS,
    Answer,
    define,
    solved_cells,
    stub_cells,
)

AT_ONCE = 8
HANGS = "it did not finish within 20 s"
SOON = 6  # seconds; who hangs does so as well after these
Verdict = tuple[str, str]


# What there is to test is read, not imported: the libraries take seconds.
def cases() -> Iterator[tuple[str, str, str]]:
    """``wrong`` or ``right``, the task, and the name of each answer."""
    for path in sorted((ROOT / "tests" / "wrong").glob("lab*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            for mark in getattr(node, "decorator_list", ()):
                match mark:
                    case ast.Call(
                        ast.Name("wrong" | "right" as kind), [task, *_]
                    ):
                        yield kind, task.value, node.name
            match node:
                case ast.Expr(ast.Call(ast.Name("changed"), [task, text])):
                    for sentence, name, _ in told(text.value):
                        kind = "wrong" if sentence else "right"
                        yield kind, task.value, name
    yield from changes.listed()


CASES = list(cases())
WRONG = [(task, name) for kind, task, name in CASES if kind == "wrong"]
RIGHT = [(task, name) for kind, task, name in CASES if kind == "right"]

pytestmark = [
    # Some wrong answers leave coroutines that nobody awaits.
    pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning"),
    # The first test of a lab waits until everything of it is judged.
    pytest.mark.timeout(150),
]


class Judged(NamedTuple):
    """Verdicts by task, and on the cases with the sentence to get."""

    stubs: dict[str, Verdict]
    solutions: dict[str, Verdict]
    cases: dict[tuple[str, str], tuple[Verdict, str | None]]


@pytest.fixture
def judged(task: str) -> Judged:
    """The verdicts on the lab of a task, with its lesson's check."""
    lab = task[:2]
    if lab not in _judged:
        _judged[lab] = None  # if it fails, it does so only once
        _judged[lab] = asyncio.run(judge_lab(lab))
        gc.collect()  # what they left behind warns here, not in other tests
    verdicts = _judged[lab]
    assert verdicts, "judging this lab failed before"
    return verdicts


_judged: dict[str, Judged | None] = {}


async def judge_lab(lab: str) -> Judged:
    """Judge everything of a lab, some at a time: most of it is waiting."""
    from tests import wrong
    from workshop import checks

    importlib.import_module(f"tests.wrong.lab{lab}")
    listed = [case for case in wrong.CASES if case.task[:2] == lab]
    listed += changes.cases(lab)
    turn = asyncio.Semaphore(AT_ONCE)

    async def judge(task: str, answer: Answer, **limit: float) -> Verdict:
        async with turn:
            return await checks.verdict(task, answer, **limit)

    async def judge_all(answers: dict[str, Answer]) -> dict[str, Verdict]:
        verdicts = await asyncio.gather(*map(judge, answers, answers.values()))
        return dict(zip(answers, verdicts, strict=True))

    async def judge_case(case: wrong.Case) -> tuple[Verdict, str | None]:
        if case.sentence is None or not case.sentence.startswith(HANGS):
            return await judge(case.task, case.answer), case.sentence
        sentence = case.sentence.replace("20 s", f"{SOON} s")
        return await judge(case.task, case.answer, limit=SOON), sentence

    async def judge_cases() -> dict[tuple[str, str], Any]:
        judged = await asyncio.gather(*map(judge_case, listed))
        names = [(case.task, case.answer.__name__) for case in listed]
        return dict(zip(names, judged, strict=True))

    stubs, solutions = {}, {}
    for source in SOURCES:
        if source.name.startswith(lab):
            name = source.relative_to(ROOT)
            stubs |= define(stub_cells(source), f"stubs of {name}")
            solutions |= define(solved_cells(source), f"answers of {name}")
    cases, *others = await asyncio.gather(
        judge_cases(), judge_all(stubs), judge_all(solutions)
    )
    return Judged(*others, cases)


@pytest.mark.parametrize("task", TASKS)
def test_the_stub_is_not_started(task: str, judged: Judged) -> None:
    assert judged.stubs[task][0] == "⬜"


@pytest.mark.parametrize("task", TASKS)
def test_the_solution_passes(task: str, judged: Judged) -> None:
    mark, sentence = judged.solutions[task]
    assert mark == "✅", sentence
    assert re.search(r"\d|loop stayed free", sentence), "no evidence"


@pytest.mark.parametrize(("task", "name"), WRONG)
def test_the_mistake_is_named(task: str, name: str, judged: Judged) -> None:
    verdict, sentence = judged.cases[task, name]
    assert verdict == ("❌", sentence)


@pytest.mark.parametrize(("task", "name"), RIGHT)
def test_other_right_answers_pass(
    task: str, name: str, judged: Judged
) -> None:
    verdict, _ = judged.cases[task, name]
    assert verdict[0] == "✅", verdict[1]


@pytest.mark.parametrize("task", TASKS)
def test_there_are_three_wrong_answers(task: str) -> None:
    assert Counter(task for task, _ in WRONG)[task] >= 3


def test_every_wrong_answer_is_to_a_task() -> None:
    assert TASKS
    assert {task for task, _ in WRONG} == set(TASKS)
    assert len(set(CASES)) == len(CASES)
