"""The wire format of ``POST /v1/chat/completions``."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from workshop.practice import words
from workshop.practice.ask import (
    ROLES,
    Ask,
    Call,
    Problem,
    Reply,
    Script,
    Tool,
    Turn,
    check_results,
    invalid_value,
    need,
    text_of,
    wrong_type,
)

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Request:
    ask: Ask
    model: str
    stream: bool
    include_usage: bool


def parse(body: dict[str, Any]) -> Request:
    """Read a request; raises Problem where it is wrong."""
    model = need(body.get("model"), "model", str, "a string")
    messages = need(body.get("messages"), "messages", list, "an array")
    if not messages:
        raise Problem(
            400,
            "Invalid 'messages': empty array. Expected at least one.",
            param="messages",
            code="empty_array",
        )
    turns = [_turn(m, f"messages[{i}]") for i, m in enumerate(messages)]
    check_results(turns, "messages")
    if body.get("n") not in (None, 1):
        raise Problem(400, "The practice model gives one choice.", param="n")
    stop = body.get("stop") or ()
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    options = body.get("stream_options") or {}
    ask = Ask(
        turns=tuple(turns),
        tools=_tools(body.get("tools") or []),
        choice=_choice(body.get("tool_choice")),
        parallel=body.get("parallel_tool_calls") is not False,
        schema=_schema(body.get("response_format")),
        limit=limit and need(limit, "max_tokens", int, "an integer"),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
    )
    return Request(
        ask=ask,
        model=model,
        stream=bool(body.get("stream")),
        include_usage=bool(options.get("include_usage")),
    )


def _turn(message: Any, name: str) -> Turn:
    message = need(message, name, dict, "an object")
    role = need(message.get("role"), f"{name}.role", str, "a string")
    if role not in ROLES:
        raise invalid_value(f"{name}.role", role, ROLES)
    calls = message.get("tool_calls") or []
    return Turn(
        role=ROLES[role],
        text=text_of(message.get("content"), f"{name}.content"),
        calls=tuple(
            Call(
                call["function"]["name"],
                call["function"]["arguments"],
                call["id"],
            )
            for call in calls
        ),
        call_id=message.get("tool_call_id", ""),
    )


def _tools(tools: list[Any]) -> tuple[Tool, ...]:
    found = []
    for index, tool in enumerate(tools):
        param = f"tools[{index}].function"
        function = need(tool.get("function"), param, dict, "an object")
        name = function.get("name")
        found.append(
            Tool(
                name=need(
                    function.get("name"), f"{name}.name", str, "a string"
                ),
                description=function.get("description") or "",
                parameters=function.get("parameters") or {},
            )
        )
    return tuple(found)


def _choice(choice: Any) -> str:
    if choice is None:
        return "auto"
    if isinstance(choice, str):
        return choice
    if isinstance(choice, dict) and choice.get("type") == "function":
        return choice["function"]["name"]
    raise wrong_type("tool_choice", "a string or a function", choice)


def _schema(response_format: Any) -> dict[str, Any] | None:
    match (response_format or {}).get("type"):
        case "json_schema":
            return response_format["json_schema"].get("schema") or {}
        case "json_object":
            return {}
    return None


def script(request: Request, reply: Reply) -> Script:
    """Write a reply, streamed or not, as the request wants it."""
    prompt = sum(words.count(turn.text) for turn in request.ask.turns)
    pieces = [words.tokens(call.arguments) for call in reply.calls]
    count = len(reply.tokens) + sum(map(len, pieces))
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": count,
        "total_tokens": prompt + count,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
    finish = "length" if reply.cut_short else "stop"
    finish = "tool_calls" if reply.calls else finish
    write = _streamed if request.stream else _whole
    return write(request, reply, usage, finish, pieces)


def _envelope(request: Request, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{request.ask.digest()}",
        "object": kind,
        "created": int(time.time()),
        "model": request.model,
        "service_tier": "default",
        "system_fingerprint": "fp_practice",
    }


def _whole(
    request: Request,
    reply: Reply,
    usage: dict[str, Any],
    finish: str,
    pieces: list[list[str]],
) -> Script:
    message = {
        "role": "assistant",
        "content": None if reply.calls else "".join(reply.tokens),
        "refusal": None,
        "annotations": [],
    }
    if reply.calls:
        message["tool_calls"] = [_call(call) for call in reply.calls]
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": finish,
    }
    body = _envelope(request, "chat.completion")
    body |= {"choices": [choice], "usage": usage}
    return Script(
        [json.dumps(body).encode()], usage["completion_tokens"], False
    )


def _call(call: Call) -> dict[str, Any]:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def _streamed(
    request: Request,
    reply: Reply,
    usage: dict[str, Any],
    finish: str,
    pieces: list[list[str]],
) -> Script:
    envelope = _envelope(request, "chat.completion.chunk")
    asked = {"usage": None} if request.include_usage else {}

    def event(delta: dict[str, Any], finish: str | None = None) -> str:
        choice = {
            "index": 0,
            "delta": delta,
            "logprobs": None,
            "finish_reason": finish,
        }
        return _sse({**envelope, **asked, "choices": [choice]})

    role = {"role": "assistant", "content": "", "refusal": None}
    if reply.calls:
        role["content"] = None
    before = event(role)
    chunks = []
    if reply.tokens:
        chunks = _fill(event({"content": _BLANK}), reply.tokens)
        chunks[0] = before + chunks[0]
        before = ""
    for index, (call, parts) in enumerate(
        zip(reply.calls, pieces, strict=True)
    ):
        named = _call(call)
        named["function"]["arguments"] = ""
        before += event({"tool_calls": [{"index": index, **named}]})
        part = {"index": index, "function": {"arguments": _BLANK}}
        more = _fill(event({"tool_calls": [part]}), parts)
        chunks += [before + more[0], *more[1:]]
        before = ""
    end = before + event({}, finish)
    if request.include_usage:
        end += _sse({**envelope, "choices": [], "usage": usage})
    return Script(
        [chunk.encode() for chunk in chunks] + [end.encode() + DONE],
        len(chunks),
        True,
    )


# Stands for a token in an event that is written once and filled often.
_BLANK = "\0"


def _fill(event: str, tokens: list[str]) -> list[str]:
    before, after = event.rsplit(json.dumps(_BLANK), 1)
    return [before + json.dumps(token) + after for token in tokens]


def _sse(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data)}\n\n"
