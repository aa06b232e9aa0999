"""The form of an answer that a prompt itself describes."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

LOOK_AT = 50_000  # characters of the instructions
MOST = 40  # JSON texts in them
_DECODER = json.JSONDecoder()
_JSON = re.compile(r"\bjson\b", re.I)
_KEYS = re.compile(
    r"\b(?:keys?|fields?|property|properties|attributes?|"
    r"JSON(?: object)? with"
    r"(?!.{0,12}\b(?:key|field|property|properties|attr)))\b[:\s]*"
    r"(?:named\s|called\s|are\s)?((?:[\"'`]?[A-Za-z_]\w*[\"'`]?"
    r"(?:,\s*(?:and\s)?|\s+and\s+|(?=\W|$)))+)",
)
_QUOTED = re.compile(r"[\"'`](\w+)[\"'`]")
# Sentences that only say how to write.
_INSTRUCTIONS = re.compile(
    r"\b(?:JSON|schema|code block|Markdown|STRICT OUTPUT FORMAT|keys|fields)\b"
)
_SENTENCE = re.compile(r"(?<=[.!?:])\s+|\n")


class Form(NamedTuple):
    """A schema, and the prompt without what describes it."""

    schema: dict[str, Any]
    rest: str


def described(text: str, loosely: bool) -> Form | None:
    """The schema that stands in a prompt, or that its example has.

    ``loosely`` takes a list of keys for one too.
    """
    text = text[-LOOK_AT:]
    if "Action Input:" in text:  # JSON for a tool, not for the answer
        return None
    if not loosely and not _JSON.search(text):
        return None
    found = _objects(text)
    schemas = [value for _, _, value in found if _is_schema(value)]
    if schemas:
        return Form(schemas[-1], _without(text, found))
    examples = [value for _, _, value in found if value]
    if examples and _JSON.search(text):
        return Form(_schema_of(examples[-1]), _without(text, found))
    keys = _keys(text)
    if keys and _JSON.search(text):
        parts = {name: {"type": "string"} for name in keys}
        return Form(_object(parts), _without(text, []))
    return None


def any_object() -> dict[str, Any]:
    """The schema of JSON about which nothing is said."""
    return _object({"answer": {"type": "string"}})


def _object(parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": parts, "required": list(parts)}


def _keys(text: str) -> list[str]:
    listed = _KEYS.search(text)
    named = re.search(r"\b(?:keys?|fields?|property|properties)\b", text)
    quoted = _QUOTED.findall(text) if named else []
    if quoted or not listed:
        return quoted
    return [w for w in re.findall(r"\w+", listed[1]) if w != "and"]


def _objects(text: str) -> list[tuple[int, int, dict[str, Any]]]:
    """The JSON objects in a text, the outer ones."""
    found = []
    end = 0
    for match in list(re.finditer(r"\{\s*[\"}]", text))[:MOST]:
        if match.start() < end:
            continue
        try:
            value, end = _DECODER.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            continue
        found.append((match.start(), end, value))
    return found


def _is_schema(value: dict[str, Any]) -> bool:
    parts = value.get("properties")
    return isinstance(parts, dict) and all(
        isinstance(part, dict) for part in parts.values()
    )


def _schema_of(example: Any) -> dict[str, Any]:
    """The schema that an example follows."""
    match example:
        case dict():
            return _object({k: _schema_of(v) for k, v in example.items()})
        case list():
            return {"type": "array", "items": _schema_of((*example, "")[0])}
        case bool():
            return {"type": "boolean"}
        case int():
            return {"type": "integer"}
        case float():
            return {"type": "number"}
    return {"type": "string"}


def _without(text: str, found: list[tuple[int, int, Any]]) -> str:
    """The text without those objects, and without what introduces them."""
    for start, end, _ in reversed(found):
        text = f"{text[:start]}JSON{text[end:]}"
    for parts in (text.splitlines(), _SENTENCE.split(text)):
        kept = [p for p in parts if not _INSTRUCTIONS.search(p)]
        rest = "\n".join(part for part in kept if part.strip("` -"))
        if rest:
            return rest
    return text
