"""Chunks of a stream as a person can read and compare them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from langchain_core.messages import BaseMessage

# Generated anew in each run: ids, and the time in a `debug` chunk.
_GENERATED = re.compile(
    r"(?:lc_run--|run--)?[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
    r"|\b(?:chatcmpl-|call_)\w+"
    r"|\d{4}-\d\d-\d\dT[\d:.]+(?:\+00:00)?"
)
_DEEPEST = 6


def plain(chunks: Iterable[object]) -> list[str]:
    """The full text of each chunk, to compare two runs.

    What is generated anew in each run is numbered in the order of its
    appearance: the first id becomes ``<0>`` wherever it stands.
    """
    numbers: dict[str, str] = {}

    def number(found: re.Match[str]) -> str:
        return numbers.setdefault(found[0], f"<{len(numbers)}>")

    return [_GENERATED.sub(number, repr(chunk)) for chunk in chunks]


def brief(chunk: object, width: int = 100) -> str:
    """One line about a chunk, with as much of its inside as fits.

    A message is shown as its class and its text or tool call, a generated
    id as ``<id>``, and what is too much as its size: ``{14 keys}``.
    """
    for depth in range(_DEEPEST, 0, -1):
        line = _brief(chunk, depth)
        if len(line) <= width:
            break
    return line


def _brief(value: Any, depth: int) -> str:
    if isinstance(value, BaseMessage):
        return f"{type(value).__name__}({_said(value)})"
    if isinstance(value, dict):
        if value and (depth == 0 or len(value) > 9):
            return f"{{{len(value)} keys}}"
        inner = (f"{k}: {_brief(v, depth - 1)}" for k, v in value.items())
        return f"{{{', '.join(inner)}}}"
    if isinstance(value, list | tuple):
        left, right = "()" if isinstance(value, tuple) else "[]"
        if value and depth == 0:
            return f"{left}{len(value)} items{right}"
        inner = (_brief(v, depth - 1) for v in value)
        return f"{left}{', '.join(inner)}{right}"
    if isinstance(value, str):
        return _short(_GENERATED.sub("<id>", value))
    return repr(value)


def _said(message: BaseMessage) -> str:
    if pieces := getattr(message, "tool_call_chunks", None):
        return "".join(f"{p['name'] or ''}{p['args'] or ''}" for p in pieces)
    calls = [
        f"{call['name']}({json.dumps(call['args'])})"
        for call in getattr(message, "tool_calls", [])
    ]
    return ", ".join(calls) or _short(message.text)


def _short(text: str) -> str:
    return repr(text if len(text) <= 24 else f"{text[:23]}…")
