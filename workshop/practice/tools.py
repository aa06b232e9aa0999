"""Which tools to call for a prompt, and with what."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from workshop.practice import words
from workshop.practice.ask import Ask, Call, Tool, Turn
from workshop.practice.schema import Filler
from workshop.practice.source import Source, clauses, lists

MOST = 32  # calls in one reply
ENOUGH = 3.0  # the score at which a tool fits a text
# What a tool does, rather than what it does it with.
_VERBS = frozenset(
    words.stem(word)
    for word in "search find create make take book send set list show look "
    "read write run check update delete compute calculate".split()
)
_OPERATORS = {"+": "add", "*": "multiply", "×": "multiply", "/": "divide"}
_OPERATORS |= {"÷": "divide", "-": "subtract"}
_OPERATOR = re.compile(r"\d\s*([-+*/×÷])\s*\d")
_EARLIER = re.compile(r"\b(?:the|that)\s(?:result|answer|sum|product)\b", re.I)


class Fit(NamedTuple):
    score: float
    evidence: frozenset[str]
    tool: Tool


class Wish(NamedTuple):
    """One call that the prompt asks for, and the words that do."""

    tool: Tool
    start: int
    end: int


def choose(ask: Ask) -> tuple[Call, ...]:
    """The calls to make now; none if the answer is a text."""
    if not ask.tools or ask.choice == "none":
        return ()
    prompt, since = _last_prompt(ask.turns)
    made = [(c.name, c.arguments) for turn in since for c in turn.calls]
    results = [turn.text for turn in since if turn.role == "tool"]
    wanted = _wanted(ask, prompt)
    calls = []
    for name, arguments in _arguments(wanted, prompt, results):
        text = json.dumps(arguments, ensure_ascii=False)
        if (name, text) in made:
            made.remove((name, text))
        elif (name, text) not in calls:
            calls.append((name, text))
    must = ask.choice != "auto"
    if must and not calls:
        calls = _forced(ask, prompt, [turn for turn in since], results)
    calls = calls[: MOST if ask.parallel else 1]
    return tuple(
        Call(name, arguments, _call_id(ask, index))
        for index, (name, arguments) in enumerate(calls)
    )
