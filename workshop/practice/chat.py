"""The wire format of ``POST /v1/chat/completions``."""

from __future__ import annotations

import ast
import contextlib
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from workshop.practice import endings, rules, words
from workshop.practice.ask import (
    ROLES,
    Ask,
    Call,
    Problem,
    Reply,
    Script,
    Turn,
    failure_body,
    text_of,
)

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Request:
    ask: Ask
    model: str
    stream: bool
    include_usage: bool
    choices: int = 1
    logprobs: bool = False


def parse(body: dict[str, Any]) -> Request:
    """Read a request; raises Problem where it is wrong."""
    rules.check_chat(body)
    model, messages = body["model"], body["messages"]
    turns = [_turn(m, f"messages[{i}]") for i, m in enumerate(messages)]
    _check_results(turns)
    _check_form(body.get("response_format"), turns)
    turns = list(_observed(turns))
    tools = rules.read_tools(body.get("tools"), "function")
    stop = body.get("stop") or ()
    options = body.get("stream_options") or {}
    ask = Ask(
        turns=tuple(turns),
        tools=tools,
        choice=rules.read_choice(body.get("tool_choice"), tools, "function"),
        parallel=body.get("parallel_tool_calls") is not False,
        schema=_schema(body.get("response_format")),
        limit=body.get("max_completion_tokens") or body.get("max_tokens"),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
    )
    return Request(
        ask=ask,
        model=model,
        stream=bool(body.get("stream")),
        include_usage=bool(options.get("include_usage")),
        choices=body.get("n") or 1,
        logprobs=bool(body.get("logprobs")),
    )


def too_long(tokens: int, limit: int) -> Problem:
    """The refusal of a prompt that does not fit into the context."""
    return Problem(
        400,
        f"This model's maximum context length is {limit} tokens. However, "
        f"your messages resulted in {tokens} tokens. Please reduce the "
        "length of the messages.",
        param="messages",
        code="context_length_exceeded",
    )


def _turn(message: dict[str, Any], name: str) -> Turn:
    content = message.get("content")
    calls = message.get("tool_calls") or ()
    says = any(message.get(n) for n in ("tool_calls", "refusal", "audio"))
    if content is None and not (message["role"] == "assistant" and says):
        raise Problem(
            400,
            "Invalid value for 'content': expected a string, got null.",
            param=f"{name}.content".replace("[", ".["),
        )
    return Turn(
        role=ROLES[message["role"]],
        text=text_of(content),
        calls=tuple(
            Call(
                call["function"]["name"],
                call["function"]["arguments"],
                call["id"],
            )
            for call in calls
        ),
        call_id=message.get("tool_call_id", ""),
        name=message.get("name") or "",
    )


_CALLING = re.compile(r"Calling tools:\s*(\[.*\])", re.S)


def _observed(turns: list[Turn]) -> Iterator[Turn]:
    """The turns, where calls and results stand in texts as such again.

    Some clients write "Calling tools: [...]" and "Observation: ...".
    """
    made: tuple[Call, ...] = ()
    for turn in turns:
        calling = _CALLING.match(turn.text)
        if turn.role == "assistant" and calling:
            with contextlib.suppress(ValueError, SyntaxError, KeyError):
                made = tuple(
                    Call(
                        call["function"]["name"],
                        json.dumps(call["function"]["arguments"]),
                        call["id"],
                    )
                    for call in ast.literal_eval(calling[1])
                )
                turn = Turn("assistant", "", made)
        if (
            turn.role == "user"
            and turn.text.startswith("Observation:")
            and made
        ):
            found = turn.text.removeprefix("Observation:").strip()
            turn = Turn("tool", found, call_id=made[0].id)
        yield turn


def _check_results(turns: list[Turn]) -> None:
    """Every call must have its result before anybody speaks again."""
    open_calls: list[str] = []
    for index, turn in enumerate([*turns, Turn("end", "")]):
        param = f"messages.[{min(index, len(turns) - 1)}].role"
        if turn.role == "tool":
            if turn.call_id not in open_calls:
                raise Problem(
                    400,
                    "Invalid parameter: messages with role 'tool' must be a "
                    "response to a preceeding message with 'tool_calls'.",
                    param=param,
                )
            open_calls.remove(turn.call_id)
            continue
        if open_calls:
            raise Problem(
                400,
                "An assistant message with 'tool_calls' must be followed by "
                "tool messages responding to each 'tool_call_id'. The "
                "following tool_call_ids did not have response messages: "
                f"{', '.join(open_calls)}",
                param=param,
            )
        open_calls = [call.id for call in turn.calls]


def _check_form(form: Any, turns: list[Turn]) -> None:
    kind = (form or {}).get("type")
    if kind == "json_object":
        rules.check_mentions_json(
            turns,
            "'messages' must contain the word 'json' in some form, to use "
            "'response_format' of type 'json_object'.",
            "messages",
        )
    if kind == "json_schema":
        rules.check_format(form["json_schema"], "response_format", None)


def _schema(response_format: Any) -> dict[str, Any] | None:
    match (response_format or {}).get("type"):
        case "json_schema":
            return response_format["json_schema"].get("schema") or {}
        case "json_object":
            return {}
    return None


def script(request: Request, reply: Reply) -> Script:
    """Write a reply, streamed or not, as the request wants it."""
    prompt = request.ask.prompt_tokens
    count = request.choices * endings.length(reply)
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": count,
        "total_tokens": prompt + count,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": len(reply.thoughts),
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
    finish = reply.finish
    if finish == "stop" and reply.calls:
        finish = "tool_calls"
    write = _streamed if request.stream else _whole
    chunks = write(request, reply, usage, finish)
    error = {"error": failure_body()}
    failed = _sse(error) if request.stream else json.dumps(error)
    return Script(
        chunks,
        count,
        request.stream,
        thoughts=len(reply.thoughts),
        failure=lambda sent: failed.encode(),
    )


def _envelope(request: Request, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{request.ask.digest}",
        "object": kind,
        "created": int(time.time()),
        "model": request.model,
        "service_tier": "default",
        "system_fingerprint": "fp_practice",
    }


def _whole(
    request: Request, reply: Reply, usage: dict[str, Any], finish: str
) -> list[bytes]:
    text = "".join(reply.tokens)
    message = {
        "role": "assistant",
        "content": None if reply.calls or reply.refusal else text,
        "refusal": text if reply.refusal else None,
        "annotations": [],
    }
    if reply.thoughts:
        message["reasoning_content"] = "".join(reply.thoughts)
    if reply.calls:
        message["tool_calls"] = [_call(call) for call in reply.calls]
    chances = _chances(reply, reply.tokens) if request.logprobs else None
    choices = [
        {
            "index": index,
            "message": message,
            "logprobs": chances,
            "finish_reason": finish,
        }
        for index in range(request.choices)
    ]
    body = _envelope(request, "chat.completion")
    body |= {"choices": choices, "usage": usage}
    return [json.dumps(body).encode()]


def _call(call: Call) -> dict[str, Any]:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def _chances(reply: Reply, tokens: list[str]) -> dict[str, Any]:
    """The ``logprobs`` of a text: each token was certain."""
    certain = [
        {
            "token": token,
            "logprob": 0.0,
            "bytes": list(token.encode("utf-8", "surrogatepass")),
            "top_logprobs": [],
        }
        for token in tokens
    ]
    said, other = ("refusal", "content")[:: 1 if reply.refusal else -1]
    return {said: certain, other: None}


def _streamed(
    request: Request, reply: Reply, usage: dict[str, Any], finish: str
) -> list[bytes]:
    envelope = _envelope(request, "chat.completion.chunk")
    if request.include_usage:
        envelope["usage"] = None
    chunks: list[str] = []
    end = ""
    for index in range(request.choices):
        more = _choice_events(request, reply, envelope, index, finish)
        *tokens, last = more
        if tokens:
            tokens[0] = end + tokens[0]
            end = ""
        chunks += tokens
        end += last
    if request.include_usage:
        end += _sse({**envelope, "choices": [], "usage": usage})
    return [chunk.encode() for chunk in chunks] + [end.encode() + DONE]


def _choice_events(
    request: Request,
    reply: Reply,
    envelope: dict[str, Any],
    index: int,
    finish: str,
) -> list[str]:
    """The events of one choice: for each token, and those at its end."""

    def event(
        delta: dict[str, Any], finish: str | None = None, chances: Any = None
    ) -> str:
        choice = {
            "index": index,
            "delta": delta,
            "logprobs": chances,
            "finish_reason": finish,
        }
        return _sse({**envelope, "choices": [choice]})

    # Calls and a refusal have null for a content.
    said = "refusal" if reply.refusal else "content"
    content = None if reply.calls or reply.refusal else ""
    role = {"role": "assistant", "content": content, "refusal": None}
    before = event(role)
    chunks = _fill(event({"reasoning_content": _BLANK}), reply.thoughts)
    if request.logprobs:
        chunks += [
            event({said: token}, chances=_chances(reply, [token]))
            for token in reply.tokens
        ]
    else:
        chunks += _fill(event({said: _BLANK}), reply.tokens)
    if chunks:
        chunks[0] = before + chunks[0]
        before = ""
    for number, call in enumerate(reply.calls):
        named = _call(call)
        named["function"]["arguments"] = ""
        before += event({"tool_calls": [{"index": number, **named}]})
        if reply.doubled:
            again = {"index": number, "function": named["function"]}
            before += event({"tool_calls": [again]})
        part = {"index": number, "function": {"arguments": _BLANK}}
        pieces = words.tokens(call.arguments)
        more = _fill(event({"tool_calls": [part]}), pieces)
        chunks += [before + more[0], *more[1:]]
        before = ""
    return [*chunks, before + event({}, finish)]


# Stands for a token in an event that is written once and filled often.
_BLANK = "\0"


def _fill(event: str, tokens: list[str]) -> list[str]:
    before, after = event.rsplit(json.dumps(_BLANK), 1)
    return [before + json.dumps(token) + after for token in tokens]


def _sse(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data)}\n\n"
