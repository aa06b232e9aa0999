"""One of several: which choice a text names, and which one names none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from workshop.practice import words

_END = words.VOCABULARY["nothing"].split()
_QUOTED = r"[\"'\u2018\u201c`](\w[\w -]{0,40})[\"'\u2019\u201d`]"
_BETWEEN = r"\W{0,3}(?:(?:,|/|\||or|and)\W{0,3}){1,2}"
_QUOTED_LIST = re.compile(f"{_QUOTED}(?:{_BETWEEN}{_QUOTED})+", re.I)
_YES_OR_NO = re.compile(r"\b(yes|true)\s*(?:or|/|,)\s*(no|false)\b", re.I)
_ONE_OF = re.compile(
    r"\b(?:one of|into|as (?:either|one))\b[^:.\n]{0,60}:\s*"
    r"([\w -]+(?:,\s*(?:or |and )?[\w -]+|\s+or\s+[\w -]+)+)",
    re.I,
)


def listed(text: str) -> list[str]:
    """The choices that a text lists, as in "'yes' or 'no'"."""
    found = _QUOTED_LIST.search(text)
    if found:
        return re.findall(_QUOTED, found[0])
    found = _YES_OR_NO.search(text)
    return list(found.groups()) if found else []


_ANSWER = re.compile(
    r"\b(?:answer|reply|respond|say)\b.{0,30}?\b(yes) or (no)\b", re.I
)


def asked(text: str) -> list[str]:
    """The choices of "one of these categories: a, b, c" in a prompt."""
    found = _ONE_OF.search(text)
    if not found and (answer := _ANSWER.search(text)):
        return list(answer.groups())
    if not found:
        return listed(text) if re.search(r"\bone of\b", text, re.I) else []
    parts = re.split(r",\s*(?:or |and )?|\s+or\s+", found[1])
    return [part.strip() for part in parts if part.strip()]


def named(choices: Sequence[Any], text: str) -> Any:
    """The choice that a text names first, or None.

    Of two in one place the longer one counts: "not funny", not "funny".
    A list of the choices themselves names none of them.
    """
    text = _without_lists(choices, text)
    found: tuple[int, int, Any] | None = None
    for choice in choices:
        for match in _spoken(choice).finditer(text):
            start, end = match.span()
            longer = found and start < found[1] and end > found[0]
            better = (
                end - start > found[1] - found[0]
                if longer
                else not found or start < found[0]
            )
            if better:
                found = (start, end, choice)
    if found:
        return found[2]
    said = set(words.stems(text))
    for choice in choices:
        if not said.isdisjoint(words.stems(str(choice))):
            return choice
    return None


def none_of(choices: Sequence[Any], again: int = 0) -> Any:
    """The choice for a text that names none: other, the end, no, ...

    ``again`` turns to the next ones, if that did not help.
    """
    plain = [str(choice).strip("_").lower() for choice in choices]
    for word in _END:
        if word in plain:
            return choices[(plain.index(word) + again) % len(choices)]
    return choices[again % len(choices)]


def ends(choices: Iterable[Any]) -> list[Any]:
    """The choices that end a graph, such as FINISH."""
    return [
        choice
        for choice in choices
        if str(choice).strip("_").lower() in ("finish", "end", "done")
    ]


def _spoken(choice: Any) -> re.Pattern[str]:
    parts = re.split(r"[\s_-]", str(choice))
    spoken = r"[\s_-]".join(map(re.escape, parts))
    return re.compile(rf"(?<!\w){spoken}(?!\w)", re.I)


def _without_lists(choices: Sequence[Any], text: str) -> str:
    either = "|".join(
        _spoken(choice).pattern
        for choice in sorted(choices, key=lambda choice: -len(str(choice)))
    )
    quote = "[\"'\u2018\u2019\u201c\u201d`*]{0,2}"
    one = f"{quote}(?:{either}){quote}"
    several = rf"\[?{one}(?:{_BETWEEN}{one})+\]?"
    return re.sub(several, " ", text, flags=re.I)
