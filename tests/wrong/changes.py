"""Answers that are a solution with a change, as ``labNN.toml`` has them.

A table for each task, and in it, by the name of the answer: the sentence
that it must get ("" if it is right as well), a piece of the solution, and
what stands there instead; and further such pairs.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

from tests.wrong import Case
from tools.tasks import define, solved_cells, source_of, tasks_in

Changes = dict[str, dict[str, list[str]]]


def listed() -> Iterator[tuple[str, str, str]]:
    """``wrong`` or ``right``, the task, and the name of each answer."""
    for path in sorted(Path(__file__).parent.glob("lab*.toml")):
        for task, answers in changes(path.stem.removeprefix("lab")).items():
            for name, (sentence, *_) in answers.items():
                yield "wrong" if sentence else "right", task, name


def changes(lab: str) -> Changes:
    path = Path(__file__).with_name(f"lab{lab}.toml")
    return tomllib.loads(path.read_text("utf-8")) if path.exists() else {}


def cases(lab: str) -> Iterator[Case]:
    """The answers to the tasks of a lab and of its lesson."""
    for task, answers in changes(lab).items():
        source = source_of(task)
        solution = f"def {tasks_in(source)[task]}("
        for name, (sentence, *pairs) in answers.items():
            cells = solved_cells(source)
            for old, new in zip(pairs[::2], pairs[1::2], strict=True):
                _change(cells, old, new, solution)
            answer = define(cells, f"{task} {name}")[task]
            answer.__name__ = name
            yield Case(task, sentence or None, answer)


def _change(cells: list[str], old: str, new: str, solution: str) -> None:
    """Change the one place in the solution, or else in all the cells."""
    places = [at for at, text in enumerate(cells) if old in text]
    own = [at for at in places if solution in cells[at]]
    [place] = own or places
    assert cells[place].count(old) == 1, f"more than once: {old!r}"
    cells[place] = cells[place].replace(old, new)
