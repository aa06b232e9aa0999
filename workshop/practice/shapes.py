"""The shapes of requests, and OpenAI's words for what does not fit.

A shape is a function that takes a value and the value's name, and raises
Problem where the value is wrong. Of what is optional, null says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from workshop.practice.ask import Problem

Shape = Callable[[Any, str], None]

_KINDS = {
    str: "a string",
    int: "an integer",
    float: "a decimal",
    bool: "a boolean",
    list: "an array",
    dict: "an object",
    type(None): "null",
}


def problem(
    message: str, param: str | None, code: str | None = None
) -> Problem:
    return Problem(400, message, param=param, code=code)


def missing(name: str) -> Problem:
    return problem(
        f"Missing required parameter: '{name}'.",
        name,
        "missing_required_parameter",
    )


def wrong_type(name: str, expected: str, value: Any) -> Problem:
    return problem(
        f"Invalid type for '{name}': expected {expected}, but got "
        f"{_KINDS[type(value)]} instead.",
        name,
        "invalid_type",
    )


def invalid_value(name: str, value: str, known: Iterable[str]) -> Problem:
    *others, last = map(repr, known)
    return problem(
        f"Invalid value: {value!r}. Supported values are: "
        f"{', '.join(others)}{',' * (len(others) > 1)} and {last}.",
        name,
        "invalid_value",
    )


def unknown(name: str) -> Problem:
    return problem(f"Unknown parameter: '{name}'.", name, "unknown_parameter")


def _wrong_length(name: str, noun: str, bound: int, length: int) -> Problem:
    """``length`` is too much, or if it is 0 too little."""
    what = f"{'an' if noun == 'array' else 'a'} {noun}"
    got = f"{what} with length {length}" if length else f"an empty {noun}"
    kind = f"{noun} too long" if length else f"empty {noun}"
    end = "maximum" if length else "minimum"
    code = f"{noun}_above_max_length" if length else f"empty_{noun}"
    return problem(
        f"Invalid '{name}': {kind}. Expected {what} with {end} length "
        f"{bound}, but got {got} instead.",
        name,
        code,
    )


def text(
    *known: str, least: int = 0, most: int | None = None, pattern: str = ""
) -> Shape:
    """A string: one of ``known``, or of a length and pattern."""

    def check(value: Any, name: str) -> None:
        if not isinstance(value, str):
            raise wrong_type(name, "a string", value)
        if known and value not in known:
            raise invalid_value(name, value, known)
        if len(value) < least:
            raise _wrong_length(name, "string", least, 0)
        if most is not None and len(value) > most:
            raise _wrong_length(name, "string", most, len(value))
        if pattern and not re.fullmatch(pattern[1:-1], value):
            raise problem(
                f"Invalid '{name}': string does not match pattern. Expected "
                f"a string that matches the pattern '{pattern}'.",
                name,
                "invalid_value",
            )

    return check


def number(
    kind: type, least: float | None = None, most: float | None = None
) -> Shape:
    """An int, or a float (which may be whole), within its bounds."""
    noun = "integer" if kind is int else "decimal"

    def check(value: Any, name: str) -> None:
        fits = isinstance(value, int if kind is int else int | float)
        if not fits or isinstance(value, bool):
            raise wrong_type(name, _KINDS[kind], value)
        for bound, side, sign, broken in (
            (
                least,
                "below minimum",
                ">=",
                least is not None and value < least,
            ),
            (most, "above maximum", "<=", most is not None and value > most),
        ):
            if broken:
                raise problem(
                    f"Invalid '{name}': {noun} {side} value. Expected a value "
                    f"{sign} {bound}, but got {value} instead.",
                    name,
                    f"{noun}_{side[:5]}_{side[6:9]}_value",
                )

    return check


def flag(value: Any, name: str) -> None:
    if not isinstance(value, bool):
        raise wrong_type(name, "a boolean", value)


def anything(value: Any, name: str) -> None:
    """Nobody looks at it."""


def array(
    item: Shape = anything, least: int = 0, most: int | None = None
) -> Shape:
    def check(value: Any, name: str) -> None:
        if not isinstance(value, list):
            raise wrong_type(name, "an array", value)
        if len(value) < least:
            raise _wrong_length(name, "array", least, 0)
        if most is not None and len(value) > most:
            raise _wrong_length(name, "array", most, len(value))
        for index, entry in enumerate(value):
            item(entry, f"{name}[{index}]")

    return check


def record(more: Shape | None = anything, **fields: Shape) -> Shape:
    """An object. A field whose name ends in an underscore is required;
    ``more`` is the shape of those that are not named, None if none may be.
    """
    required = [name[:-1] for name in fields if name[-1] == "_"]
    shapes = {name.removesuffix("_"): shape for name, shape in fields.items()}

    def check(value: Any, name: str) -> None:
        if not isinstance(value, dict):
            raise wrong_type(name, "an object", value)
        inside = f"{name}." if name else ""
        for field, part in value.items():
            shape = shapes.get(field, more)
            if shape is None:
                raise unknown(inside + field)
            if part is not None:
                shape(part, inside + field)
        for field in required:
            if value.get(field) is None:
                raise missing(inside + field)

    return check


def tagged(tag: str, **variants: Shape) -> Shape:
    """An object whose field ``tag`` says which shape it has."""
    head = record(**{f"{tag}_": text(*variants)})

    def check(value: Any, name: str) -> None:
        head(value, name)
        variants[value[tag]](value, name)

    return check


def either(expected: str, **shapes: Shape) -> Shape:
    """A string, an array or an object (``str=``, ``list=``, ``dict=``)."""

    def check(value: Any, name: str) -> None:
        shape = shapes.get(type(value).__name__)
        if shape is None:
            raise wrong_type(name, expected, value)
        shape(value, name)

    return check
