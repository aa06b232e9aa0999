"""Answers that people really write, each with the verdict it must get."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


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
