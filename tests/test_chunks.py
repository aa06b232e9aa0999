"""Chunks as lines to read and texts to compare."""

from uuid import uuid4

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, ToolMessage

from workshop.chunks import brief, plain

CALL = {"name": "cook", "args": {"dish": "soup"}, "id": "call_1"}
PIECE = {"name": None, "args": '{"di', "id": None, "index": 0}
NS = f"kitchen:{uuid4()}"


@pytest.mark.parametrize(
    ("chunk", "line"),
    [
        ({"node": None}, "{node: None}"),
        ({}, "{}"),
        (dict.fromkeys("abcdefg"), "{7 keys}"),
        (
            (AIMessageChunk(" is"), {"step": 1}),
            "(AIMessageChunk(' is'), {step: 1})",
        ),
        (
            AIMessage("", tool_calls=[CALL]),
            'AIMessage(cook({"dish": "soup"}))',
        ),
        (
            AIMessageChunk("", tool_call_chunks=[PIECE]),
            "AIMessageChunk(call '{\"di')",
        ),
        (
            ToolMessage("x" * 30, tool_call_id="1"),
            f"ToolMessage('{'x' * 23}…')",
        ),
        (((NS,), "custom", 50), "(('kitchen:…',), 'custom', 50)"),
        (ValueError("hot"), "ValueError('hot')"),
    ],
)
def test_a_chunk_in_one_line(chunk: object, line: str) -> None:
    assert brief(chunk) == line


def test_what_does_not_fit_is_left_out_from_the_inside() -> None:
    chunk = {"next": ["model"], "values": {"messages": [AIMessage("Hello")]}}
    assert brief(chunk).endswith("{messages: [AIMessage('Hello')]}}")
    assert brief(chunk, 55).endswith("{messages: [AIMessage]}}")
    assert brief(chunk, 40) == "{next: ['model'], values: {…}}"


def test_two_runs_compare_equal_only_if_the_same_ids_meet() -> None:
    first, second, other = (str(uuid4()) for _ in range(3))
    at = "2026-11-22T14:26:33.891102+00:00"
    run = plain([first, {"of": first, "at": at}])
    assert run == ["'<0>'", "{'of': '<0>', 'at': '<1>'}"]
    assert run == plain([second, {"of": second, "at": at}])
    assert run != plain([second, {"of": other, "at": at}])
    assert plain(["one"]) != plain(["two"])
