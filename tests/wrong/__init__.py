"""Answers that people really write, each with the verdict it must get.

Most of them differ from the solution in a line or two, and are told as
that change::

    changed(
        "01.2",
        '''
        the node returned a coroutine: is an `await` missing?
        - message = await llm.ainvoke(state["messages"])
        + message = llm.ainvoke(state["messages"])
        ''',
    )

An empty line stands between two answers, and `@@` between two places of
one. The verdict comes first, ✅ if the answer is right. Then the lines that
go, those that come, and after a space those that stay, as ``diff`` has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from textwrap import dedent, indent
from typing import Any

from tools.tasks import define, solved_cells, source_of, tasks_in


@dataclass(frozen=True)
class Case:
    task: str
    sentence: str | None  # after the mark and the task; None if it is right
    answer: Callable[..., Any]


CASES: list[Case] = []


def wrong(task: str, sentence: str | None) -> Callable[..., Any]:
    """Register the function below it as a wrong answer to the task."""

    def register(answer: Callable[..., Any]) -> Callable[..., Any]:
        CASES.append(Case(task, sentence, answer))
        return answer

    return register


def right(task: str) -> Callable[..., Any]:
    """Register another right answer than the one of the solution."""
    return wrong(task, None)


def changed(task: str, text: str) -> None:
    """Register the solution of a task with each of these changes."""
    source = source_of(task)
    function = f"def {tasks_in(source)[task]}("
    for sentence, name, hunks in told(text):
        cells = [cell + "\n" for cell in solved_cells(source)]
        own = max(at for at, cell in enumerate(cells) if function in cell)
        for old, new in hunks:
            _replace(cells, own, old, new)
        answer = define(cells, f"{task}, {name}")[task]
        answer.__name__ = name
        CASES.append(Case(task, sentence, answer))


def told(text: str) -> Iterator[tuple[str | None, str, list[Any]]]:
    """Sentence, name, and hunks of each change; a hunk is (old, new)."""
    for block in dedent(text).strip().split("\n\n"):
        lines = block.splitlines()
        said = [line for line in lines if line[0] not in "-+ @"]
        sentence = " ".join(said)
        hunks: list[Any] = [([], [])]
        for line in lines[len(said) :]:
            if line == "@@":
                hunks.append(([], []))
            if line[0] in "- ":
                hunks[-1][0].append(line[2:])
            if line[0] in "+ ":
                hunks[-1][1].append(line[2:])
        lines = [line.strip() for _, new in hunks for line in new]
        gone = f"without {hunks[0][0][0].strip()}" if hunks[0][0] else ""
        name = "; ".join(lines) or gone
        yield None if sentence == "✅" else sentence, name, hunks


def _replace(
    cells: list[str], own: int, old: list[str], new: list[str]
) -> None:
    """Replace lines in the solution's own cell, or else in another one."""
    for at in (own, *range(len(cells))):
        for depth in range(0, 40, 4):  # however deep they stand
            before, after = (
                "\n" + indent("\n".join(lines), " " * depth) + "\n"
                for lines in (old, new)
            )
            if before in f"\n{cells[at]}":
                changed = f"\n{cells[at]}".replace(before, after, 1)
                cells[at] = changed[1:]
                return
    raise ValueError(f"the solution has no {old}")
