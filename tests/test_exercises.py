"""The contract of every task, in lessons and in labs.

The stub counts as not started, the solution passes, and each wrong answer of
tests/wrong/ gets the one sentence that names its mistake.
"""

from __future__ import annotations

import ast
import asyncio
import gc
import importlib
import linecache
import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from textwrap import indent
from typing import Any, NamedTuple

import pytest

from tools.build import ROOT, cells_of

AT_ONCE = 5
CHECK = re.compile(r'^await check\("(\d\d\.\d)", (\w+)\)$', re.MULTILINE)
SOLUTION = re.compile(
    r"<summary>Solution</summary>\s+```python\n(.*?)```", re.DOTALL
)
STUB = re.compile(r"^ +# TODO.*?^ +\.\.\.$", re.MULTILINE | re.DOTALL)
DEFINITIONS = (
    ast.Import,
    ast.ImportFrom,
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
)
Answer = Callable[..., Any]
Verdict = tuple[str, str]

# What there is to test is read, not imported: the libraries take seconds.
SOURCES = sorted((ROOT / "source").rglob("[0-9]*.py"))
TASKS = [
    task
    for source in SOURCES
    for task, _ in CHECK.findall(source.read_text("utf-8"))
]
CASES = [
    (mark.func.id, mark.args[0].value, node.name)
    for path in sorted((ROOT / "tests" / "wrong").glob("lab*.py"))
    for node in ast.parse(path.read_text("utf-8")).body
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    for mark in node.decorator_list
]
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
    turn = asyncio.Semaphore(AT_ONCE)

    async def judge(task: str, answer: Answer) -> Verdict:
        async with turn:
            return await checks.verdict(task, answer)

    async def judge_all(answers: dict[str, Answer]) -> dict[str, Verdict]:
        verdicts = await asyncio.gather(*map(judge, answers, answers.values()))
        return dict(zip(answers, verdicts, strict=True))

    async def judge_cases() -> dict[tuple[str, str], Any]:
        slow_first = sorted(
            listed, key=lambda case: "20 s" not in (case.sentence or "")
        )
        verdicts = await asyncio.gather(
            *(judge(case.task, case.answer) for case in slow_first)
        )
        return {
            (case.task, case.answer.__name__): (verdict, case.sentence)
            for case, verdict in zip(slow_first, verdicts, strict=True)
        }

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


def stub_cells(source: Path) -> list[str]:
    lab = source.parent.name == "labs"
    return code_of(source, "exercises" if lab else "notebooks")


def solved_cells(source: Path) -> list[str]:
    """A lab's solution, or a lesson with the solution below its stub."""
    if source.parent.name == "labs":
        return code_of(source, "solutions")
    texts = []
    prose = "\n".join(
        cell.source
        for cell in cells_of(source, "notebooks")
        if cell.cell_type == "markdown"
    )
    solutions = [indent(text, "    ") for text in SOLUTION.findall(prose)]
    for text in code_of(source, "notebooks"):
        if STUB.search(text):
            text = STUB.sub(lambda _: solutions.pop(0), text)
        texts.append(text)
    return texts


def code_of(source: Path, folder: str) -> list[str]:
    cells = cells_of(source, folder)
    return [cell.source for cell in cells if cell.cell_type == "code"]


def define(texts: list[str], name: str) -> dict[str, Answer]:
    """Run only the definitions of the cells; return the answers by task."""
    namespace: dict[str, Any] = {}
    for number, text in enumerate(texts):
        file = f"<{name}, code cell {number}>"
        linecache.cache[file] = (len(text), None, text.splitlines(True), file)
        for node in filter(defines, ast.parse(text).body):
            code = compile(ast.Module([node], []), file, "exec")
            with suppress(NameError):  # it needs what a cell makes: no answer
                exec(code, namespace)
    return {
        task: namespace[function]
        for text in texts
        for task, function in CHECK.findall(text)
    }


def defines(node: ast.stmt) -> bool:
    """Whether it defines a name without a call: imports, functions, data."""
    if isinstance(node, ast.Assign):
        name, value = node.targets[0], ast.walk(node.value)
        asks = any(isinstance(n, ast.Name | ast.Call) for n in value)
        return isinstance(name, ast.Name) and not asks
    return isinstance(node, DEFINITIONS)


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
