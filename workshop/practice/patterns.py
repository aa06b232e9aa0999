"""A text that matches a regular expression, as short as it may be."""

from __future__ import annotations

import re
import string
from re import _parser as parser
from typing import Any

LONGEST = 1000  # characters
_USUAL = string.ascii_uppercase + string.ascii_lowercase + string.digits
_ALPHABET = _USUAL + "_-. " + string.punctuation
_CATEGORY = {
    "CATEGORY_DIGIT": str.isdigit,
    "CATEGORY_NOT_DIGIT": lambda sign: not sign.isdigit(),
    "CATEGORY_SPACE": str.isspace,
    "CATEGORY_NOT_SPACE": lambda sign: not sign.isspace(),
    "CATEGORY_WORD": lambda sign: sign.isalnum() or sign == "_",
    "CATEGORY_NOT_WORD": lambda sign: not (sign.isalnum() or sign == "_"),
}


def example(pattern: str, more: int = 0) -> str:
    """A text that matches; its repeats are ``more`` than they must be.

    What looks ahead or behind is not obeyed. ValueError if Python does
    not understand the pattern, or a match would be too long.
    """
    try:
        parsed = parser.parse(pattern)
        if parsed.getwidth()[0] > LONGEST:
            raise ValueError("too long")
        return _sequence(parsed, {}, more)[: 2 * LONGEST]
    except (re.error, RecursionError, OverflowError, KeyError) as error:
        raise ValueError(str(error)) from None


def _sequence(parsed: Any, groups: dict[int, str], more: int) -> str:
    return "".join(_part(str(op), what, groups, more) for op, what in parsed)


def _part(op: str, what: Any, groups: dict[int, str], more: int) -> str:
    match op:
        case "LITERAL":
            return chr(what)
        case "IN" | "NOT_LITERAL" | "ANY" | "CATEGORY":
            signs = [*_ALPHABET, *_own_signs(op, what)]
            fits = (sign for sign in signs if _allowed(op, what, sign))
            return next(fits, "")
        case "BRANCH":
            return _sequence(what[1][0], groups, more)
        case "SUBPATTERN":
            text = _sequence(what[-1], groups, more)
            groups[what[0]] = text
            return text
        case "ATOMIC_GROUP":
            return _sequence(what, groups, more)
        case "GROUPREF":
            return groups[what]
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            least, most, repeated = what
            once = _sequence(repeated, groups, more)
            return once * min(least + more, int(most), LONGEST)
    return ""  # the start, the end, a look around


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
