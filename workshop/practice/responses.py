"""The wire format of ``POST /v1/responses``."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workshop.practice import endings, rules, words
from workshop.practice.ask import (
    FAILURE,
    ROLES,
    Ask,
    Call,
    Problem,
    Reply,
    Script,
    Turn,
    text_of,
)

_number = itertools.count(1)  # LangChain takes two equal ids for one message


@dataclass(frozen=True)
class Request:
    ask: Ask
    body: dict[str, Any]

    @property
    def stream(self) -> bool:
        return bool(self.body.get("stream"))


def parse(body: dict[str, Any], kept: Mapping[str, Sequence[Turn]]) -> Request:
    """Read a request; raises Problem where it is wrong.

    ``kept`` has the turns of earlier responses of the session, and those
    of their items, by id.
    """
    before: Sequence[Turn] = ()
    earlier = body.get("previous_response_id")
    if isinstance(earlier, str):
        if earlier not in kept:
            raise Problem(
                400,
                f"Previous response with id '{earlier}' not found.",
                param="previous_response_id",
                code="previous_response_not_found",
            )
        before = kept[earlier]
    rules.check_responses(body)
    items = body["input"]
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    turns = list(before)
    for item in items:
        turns += _turns(item, kept)
    turns = _joined(turns)
    told = body.get("instructions")
    _check_results(turns)
    form = (body.get("text") or {}).get("format") or {}
    _check_form(form, turns)
    schemas = {"json_schema": form.get("schema"), "json_object": {}}
    tools = rules.read_tools(body.get("tools"), "")
    ask = Ask(
        turns=(*((Turn("system", told),) if told else ()), *turns),
        tools=tools,
        choice=rules.read_choice(body.get("tool_choice"), tools, ""),
        parallel=body.get("parallel_tool_calls") is not False,
        schema=schemas.get(form.get("type")),
        limit=body.get("max_output_tokens"),
    )
    return Request(ask, body)


def too_long(tokens: int, limit: int) -> Problem:
    """The refusal of a prompt that does not fit into the context."""
    return Problem(
        400,
        "Your input exceeds the context window of this model. Please adjust "
        "your input and try again.",
        param="input",
        code="context_length_exceeded",
    )


def _turns(
    item: dict[str, Any], kept: Mapping[str, Sequence[Turn]]
) -> Sequence[Turn]:
    match rules.kind_of(item):
        case "message":
            return [Turn(ROLES[item["role"]], text_of(item["content"]))]
        case "function_call":
            call = Call(item["name"], item["arguments"], item["call_id"])
            return [Turn("assistant", "", (call,))]
        case "function_call_output":
            text = text_of(item["output"])
            return [Turn("tool", text, call_id=item["call_id"])]
        case "item_reference":
            id = item["id"]
            if id not in kept:
                raise Problem(
                    404, f"Item with id '{id}' not found.", param="input"
                )
            return kept[id]
    return []  # a reasoning


def keep(request: Request, reply: Reply, script: Script) -> dict[str, Any]:
    """What a session keeps of a response: its turns, by id."""
    text = "".join(reply.tokens)
    said = Turn("assistant", text, reply.calls)
    turns = [t for t in request.ask.turns if t.role != "system"]
    *items, whole = script.ids
    kept: dict[str, Any] = {whole: (*turns, said)}
    for id in items:
        kept[id] = ()
    for id, call in zip(items[-len(reply.calls) :], reply.calls, strict=False):
        kept[id] = (Turn("assistant", "", (call,)),)
    if items and not reply.calls:
        kept[items[-1]] = (said,)
    return kept


def _check_results(turns: list[Turn]) -> None:
    """Every call must have a result, and every result its call."""
    made = {call.id for turn in turns for call in turn.calls}
    results = [turn.call_id for turn in turns if turn.role == "tool"]
    for id in results:
        if id not in made:
            raise Problem(
                400,
                "No tool call found for function call output with call_id "
                f"{id}.",
                param="input",
            )
    for turn in turns:
        for call in turn.calls:
            if call.id not in results:
                raise Problem(
                    400,
                    f"No tool output found for function call {call.id}.",
                    param="input",
                )


def _check_form(form: Any, turns: list[Turn]) -> None:
    kind = form.get("type")
    if kind == "json_object":
        rules.check_mentions_json(
            turns,
            "Response input messages must contain the word 'json' in some "
            "form to use 'text.format' of type 'json_object'.",
            "input",
        )
    if kind == "json_schema":
        param, code = "text.format.schema", "invalid_json_schema"
        rules.check_format(form, param, code)


def _joined(turns: list[Turn]) -> list[Turn]:
    """Calls that were made together, in one turn."""
    joined: list[Turn] = []
    for turn in turns:
        if turn.calls and joined and joined[-1].role == "assistant":
            before = joined.pop()
            calls = before.calls + turn.calls
            turn = Turn("assistant", before.text, calls)
        joined.append(turn)
    return joined


def script(request: Request, reply: Reply) -> Script:
    """Write a reply, streamed or not, as the request wants it."""
    number = next(_number)
    items = _items(request.ask.digest, number, reply)
    start = _response(request, number)
    final = start | {
        "status": "completed" if reply.finish == "stop" else "incomplete",
        "output": [item for item, _ in items],
        "usage": _usage(request.ask, reply),
    }
    if reply.finish == "stop":
        final["completed_at"] = int(time.time())
    else:
        final["incomplete_details"] = {"reason": INCOMPLETE[reply.finish]}
    error = {"code": "server_error", "message": FAILURE}
    failed = start | {"status": "failed", "error": error}
    count, thoughts = endings.length(reply), len(reply.thoughts)
    ids = (*(item["id"] for item, _ in items), start["id"])
    if not request.stream:
        body = json.dumps(final).encode()
        return Script(
            [body],
            count,
            False,
            thoughts,
            lambda sent: json.dumps(failed).encode(),
            ids,
        )
    writer = _Writer()
    writer.event("response.created", response=start)
    writer.event("response.in_progress", response=start)
    for index, (item, parts) in enumerate(items):
        _write_item(writer, index, item, parts)
    writer.event(f"response.{final['status']}", response=final)
    chunks = writer.chunks()

    def failure(sent: int) -> bytes:
        last = _Writer(b"".join(chunks[:sent]).count(b"\ndata: "))
        last.event("error", **error, param=None)
        last.event("response.failed", response=failed)
        return last.chunks()[0]

    return Script(chunks, count, True, thoughts, failure, ids)


# Why an answer is incomplete, by the finish reason of chat completions.
INCOMPLETE = {
    "length": "max_output_tokens",
    "content_filter": "content_filter",
}


def _items(
    digest: str, number: int, reply: Reply
) -> list[tuple[dict[str, Any], list[str]]]:
    """The items of the output, each with its tokens."""
    status = "completed" if reply.finish == "stop" else "incomplete"
    items: list[tuple[dict[str, Any], list[str]]] = []
    if reply.thoughts:
        summary = {"type": "summary_text", "text": "".join(reply.thoughts)}
        reasoning = {
            "type": "reasoning",
            "id": f"rs_{number}_{digest}",
            "summary": [summary],
        }
        items.append((reasoning, reply.thoughts))
    for call in reply.calls:
        item = {
            "type": "function_call",
            "id": f"fc_{number}{call.id.removeprefix('call')}",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
            "status": "completed" if call is not reply.calls[-1] else status,
        }
        items.append((item, words.tokens(call.arguments)))
    if not reply.calls:
        text = "".join(reply.tokens)
        part = {"type": "output_text", "text": text}
        part |= {"annotations": [], "logprobs": []}
        if reply.refusal:
            part = {"type": "refusal", "refusal": text}
        message = {
            "type": "message",
            "id": f"msg_{number}_{digest}",
            "role": "assistant",
            "status": status,
            "content": [part],
        }
        items.append((message, reply.tokens))
    return items


def _usage(ask: Ask, reply: Reply) -> dict[str, Any]:
    prompt = ask.prompt_tokens
    count = endings.length(reply)
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": count,
        "output_tokens_details": {"reasoning_tokens": len(reply.thoughts)},
        "total_tokens": prompt + count,
    }


def _response(request: Request, number: int) -> dict[str, Any]:
    """The response object as it is before there is any output."""
    body = request.body
    return {
        "id": f"resp_{number}_{request.ask.digest}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "metadata": body.get("metadata") or {},
        "model": body["model"],
        "output": [],
        "parallel_tool_calls": request.ask.parallel,
        "previous_response_id": body.get("previous_response_id"),
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "temperature": body.get("temperature", 1.0),
        "text": body.get("text") or {"format": {"type": "text"}},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "top_p": body.get("top_p", 1.0),
        "truncation": body.get("truncation") or "disabled",
        "usage": None,
        "user": body.get("user"),
    }


class _Writer:
    """Collects events; those before a token are sent with it."""

    def __init__(self, first: int = 0) -> None:
        self._sequence = itertools.count(first)
        self._before = ""
        self._chunks: list[bytes] = []

    def event(self, kind: str, **data: Any) -> None:
        number = next(self._sequence)
        data = {"type": kind, "sequence_number": number, **data}
        self._before += f"event: {kind}\ndata: {json.dumps(data)}\n\n"

    def token(self, kind: str, **data: Any) -> None:
        self.event(kind, **data)
        self._chunks.append(self._before.encode())
        self._before = ""

    def chunks(self) -> list[bytes]:
        """The events of each token, and those after the last."""
        return [*self._chunks, self._before.encode()]


def _write_item(
    writer: _Writer, index: int, item: dict[str, Any], tokens: list[str]
) -> None:
    """The events of one item: opened, each token, and what it became."""
    where = {"item_id": item["id"], "output_index": index}
    part: dict[str, Any] | None = None
    more: dict[str, Any] = {}
    match item["type"]:
        case "function_call":
            opened = {"arguments": ""}
            kind, said = "function_call_arguments", "arguments"
            done = {said: item[said]}
        case "reasoning":
            opened = {"summary": []}
            [part] = item["summary"]
            kind, said = "reasoning_summary_text", "text"
            added, where["summary_index"] = "reasoning_summary_part", 0
        case _:
            opened = {"content": []}
            [part] = item["content"]
            kind = part["type"]
            said = "refusal" if kind == "refusal" else "text"
            more = {} if kind == "refusal" else {"logprobs": []}
            added, where["content_index"] = "content_part", 0
    if "status" in item:
        opened["status"] = "in_progress"
    writer.event(
        "response.output_item.added", output_index=index, item=item | opened
    )
    if part is not None:
        done = {said: part[said], **more}
        empty = part | {said: ""}
        writer.event(f"response.{added}.added", **where, part=empty)
    for token in tokens:
        writer.token(f"response.{kind}.delta", **where, delta=token, **more)
    writer.event(f"response.{kind}.done", **where, **done)
    if part is not None:
        writer.event(f"response.{added}.done", **where, part=part)
    writer.event("response.output_item.done", output_index=index, item=item)
