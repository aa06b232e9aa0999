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

    A message is shown as its class and its text or tool call. What does
    not fit, and ids and times that are generated, become ``…``.
    """
    for depth in range(_DEEPEST, 0, -1):
        line = _brief(chunk, depth)
        if len(line) <= width:
            break
    return line


def _brief(value: Any, depth: int) -> str:
    if isinstance(value, BaseMessage):
        said = f"({_said(value)})" if depth else ""
        return type(value).__name__ + said
    if isinstance(value, dict):
        if len(value) > 6:
            return f"{{{len(value)} keys}}"
        inner = (f"{k}: {_brief(v, depth - 1)}" for k, v in value.items())
        return f"{{{', '.join(inner) if depth else '…' * bool(value)}}}"
    if isinstance(value, list | tuple):
        left, right = "()" if isinstance(value, tuple) else "[]"
        if depth or all(isinstance(item, str) for item in value):
            inner = ", ".join(_brief(item, depth - 1) for item in value)
        else:
            inner = "…"
        comma = "," * (left == "(" and len(value) == 1)
        return f"{left}{inner}{comma}{right}"
    if isinstance(value, str):
        return _short(_GENERATED.sub("…", value))
    return repr(value)


def _said(message: BaseMessage) -> str:
    if pieces := getattr(message, "tool_call_chunks", None):
        return ", ".join(
            f"call {p['name'] or repr(p['args'])}" for p in pieces
        )
    calls = [
        f"{call['name']}({json.dumps(call['args'])})"
        for call in getattr(message, "tool_calls", [])
    ]
    return ", ".join(calls) or _short(message.text)


def _short(text: str) -> str:
    return repr(text if len(text) <= 24 else f"{text[:23]}…")
