"""Answers that people really write, each with the sentence it must get."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Case:
    task: str
    sentence: str  # what check prints after the mark and the task
    answer: Callable[..., Any]


CASES: list[Case] = []


def wrong(task: str, sentence: str) -> Callable[..., Any]:
    """Register the function below it as a wrong answer to the task."""

    def register(answer: Callable[..., Any]) -> Callable[..., Any]:
        CASES.append(Case(task, sentence, answer))
        return answer

    return register
