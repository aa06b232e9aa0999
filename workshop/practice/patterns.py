"""Texts that match a regular expression, as short as they may be."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator
from re import _compiler as compiler
from re import _parser as parser
from typing import Any

LONGEST = 1000  # characters
_USUAL = string.ascii_uppercase + string.ascii_lowercase + string.digits
_OTHERS = "_-. " + string.punctuation


def examples(pattern: str, longer: Iterable[int]) -> list[str]:
    """Texts that match, or may; none if Python cannot read the pattern.

    ``longer`` says by how many their repeats exceed what they must be.
    What looks ahead or behind is not obeyed.
    """
    try:
        parsed = parser.parse(pattern)
        if parsed.getwidth()[0] > LONGEST:
            return []
        return [
            _Writer(more, mixed).sequence(parsed)[: 2 * LONGEST]
            for mixed in (False, True)
            for more in longer
        ]
    except (re.error, RecursionError, OverflowError, KeyError):
        return []


class _Writer:
    """Writes one example; a ``mixed`` one has signs of several kinds."""

    def __init__(self, more: int, mixed: bool) -> None:
        self._more = min(more, LONGEST)
        self._mixed = mixed
        self._written = 0
        self._groups: dict[int, str] = {}
        self._fits: dict[int, re.Pattern[str]] = {}

    def sequence(self, parsed: Any) -> str:
        return "".join(self._part(op, what) for op, what in parsed)

    def _part(self, op: Any, what: Any) -> str:
        match str(op):
            case "LITERAL":
                return chr(what)
            case "IN" | "NOT_LITERAL" | "ANY" | "CATEGORY":
                return self._sign(op, what)
            case "BRANCH":
                return self.sequence(what[1][0])
            case "SUBPATTERN":
                self._groups[what[0]] = self.sequence(what[-1])
                return self._groups[what[0]]
            case "ATOMIC_GROUP":
                return self.sequence(what)
            case "GROUPREF":
                return self._groups[what]
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                least, most, repeated = what
                count = min(least + self._more, int(most), LONGEST)
                if not self._mixed:
                    return self.sequence(repeated) * count
                count = min(count, 30)  # so that nested ones stay short
                return "".join(self.sequence(repeated) for _ in range(count))
        return ""  # the start, the end, a look around

    def _sign(self, op: Any, what: Any) -> str:
        """A character that fits, of the usual ones or of the set's own."""
        self._written += 1
        signs = _USUAL + _OTHERS + "".join(_own_signs(what))
        if self._mixed and self._written < LONGEST:
            start = 13 * self._written % len(_USUAL)
            signs = _USUAL[start:] + signs
        if id(what) not in self._fits:
            alone = parser.SubPattern(parser.State(), [(op, what)])
            self._fits[id(what)] = compiler.compile(alone)
        found = self._fits[id(what)].search(signs)
        return found[0] if found else ""


def _own_signs(what: Any) -> Iterator[str]:
    """The first characters of a set, for one that is not usual."""
    for kind, value in what if isinstance(what, list) else ():
        if str(kind) in ("LITERAL", "RANGE"):
            yield chr(value if isinstance(value, int) else value[0])
    yield "\N{LATIN SMALL LETTER E WITH ACUTE}"
