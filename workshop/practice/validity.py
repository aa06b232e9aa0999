"""Whether a value is right for its JSON schema, judged by a library."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

MOST_UNFOLDED = 4000  # parts of a schema that a validator may have
# What limits a value beside its type.
JUDGED = (
    *("enum", "format", "pattern", "minLength", "maxLength", "multipleOf"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    *("minItems", "maxItems", "uniqueItems", "minProperties"),
)


def validator(root: dict[str, Any]) -> Callable[[Any], bool]:
    """Whether a value keeps to a whole schema; always, if none can tell."""
    try:
        if _unfolded(root, root, MOST_UNFOLDED, ()) < 0:
            return lambda value: True  # to judge it would take too long
        return _compiled(root).is_valid
    except (ValueError, RecursionError):  # no schema
        return lambda value: True


def accepts(schema: dict[str, Any]) -> Callable[[Any], bool]:
    """Whether a value keeps to the limits of just this part."""
    alone = {name: schema[name] for name in JUDGED if name in schema}
    if not alone:
        return lambda value: True
    try:
        return _compiled(alone).is_valid
    except ValueError:
        return lambda value: True


def _compiled(schema: dict[str, Any]) -> Any:
    """A validator; ValueError if this is no schema."""
    import jsonschema_rs  # late: the server starts without it

    options = _validation_options()
    return jsonschema_rs.Draft202012Validator(schema, **options)


@functools.cache
def _validation_options() -> dict[str, Any]:
    import jsonschema_rs

    bounded = jsonschema_rs.FancyRegexOptions(backtrack_limit=100_000)
    return {"validate_formats": True, "pattern_options": bounded}


def _unfolded(part: Any, root: Any, left: int, path: tuple[str, ...]) -> int:
    """What is left of so many parts when each reference is followed.

    Below zero, a validator might not come to its end in time.
    """
    left -= 1
    if left < 0 or not isinstance(part, dict | list):
        return left
    if isinstance(part, list):
        for inner in part:
            left = _unfolded(inner, root, left, path)
        return left
    for key, inner in part.items():
        if key == "$ref" and isinstance(inner, str):
            if inner not in path and len(path) < 40:
                meant = target(root, inner)
                left = _unfolded(meant, root, left, (*path, inner))
        elif key not in ("$defs", "definitions", "enum", "const", "default"):
            left = _unfolded(inner, root, left, path)
        if left < 0:
            break
    return left


def target(root: Any, reference: str) -> dict[str, Any]:
    """What a reference points to; ValueError if there is nothing."""
    found = root
    for step in reference.split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        try:
            found = found[int(step) if isinstance(found, list) else step]
        except (KeyError, IndexError, ValueError, TypeError):
            raise ValueError(
                f"reference can only point to definitions: {reference!r}"
            ) from None
    return as_dict(found)


def as_dict(schema: Any) -> dict[str, Any]:
    """A schema may be ``true`` too, which allows anything."""
    return schema if isinstance(schema, dict) else {}
