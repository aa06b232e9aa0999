"""Texts that match a regular expression, as short as they may be."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable
from re import _parser as parser
from typing import Any

LONGEST = 1000  # characters
_USUAL = string.ascii_uppercase + string.ascii_lowercase + string.digits
_OTHERS = "_-. " + string.punctuation
_CATEGORY = {
    "CATEGORY_DIGIT": str.isdigit,
    "CATEGORY_NOT_DIGIT": lambda sign: not sign.isdigit(),
    "CATEGORY_SPACE": str.isspace,
    "CATEGORY_NOT_SPACE": lambda sign: not sign.isspace(),
    "CATEGORY_WORD": lambda sign: sign.isalnum() or sign == "_",
    "CATEGORY_NOT_WORD": lambda sign: not (sign.isalnum() or sign == "_"),
}


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

    def sequence(self, parsed: Any) -> str:
        return "".join(self._part(str(op), what) for op, what in parsed)

    def _part(self, op: str, what: Any) -> str:
        match op:
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

    def _sign(self, op: str, what: Any) -> str:
        self._written += 1
        signs = _USUAL + _OTHERS + "".join(_own_signs(op, what))
        if self._mixed and self._written < LONGEST:
            start = 13 * self._written % len(_USUAL)
            signs = _USUAL[start:] + signs
        fits = (sign for sign in signs if _allowed(op, what, sign))
        return next(fits, "")


def _own_signs(op: str, what: Any) -> list[str]:
    """The first characters of a set, for one that is not usual."""
    firsts = []
    for kind, value in what if op == "IN" else ():
        if str(kind) in ("LITERAL", "RANGE"):
            firsts.append(chr(value if isinstance(value, int) else value[0]))
    return [*firsts, "\N{LATIN SMALL LETTER E WITH ACUTE}"]


def _allowed(op: str, what: Any, sign: str) -> bool:
    match op:
        case "LITERAL":
            return sign == chr(what)
        case "NOT_LITERAL":
            return sign != chr(what)
        case "RANGE":
            return what[0] <= ord(sign) <= what[1]
        case "CATEGORY":
            return _CATEGORY[str(what)](sign)
        case "IN":
            negated = str(what[0][0]) == "NEGATE"
            return negated != any(
                _allowed(str(kind), value, sign)
                for kind, value in what[negated:]
            )
    return sign != "\n"  # any
