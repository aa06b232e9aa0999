"""What OpenAI refuses, in OpenAI's words.

Where a sentence comes from, as people met it (all from api.openai.com):

* ``'tool_calls' must be followed``: RamiAwar/dataline, issue 172
* ``must be a response to a preceeding message`` (its spelling): the
  developers' forum, topic 626732
* ``No tool output found``: openai/codex, issue 93; ``No tool call found``:
  continuedev/continue, issue 10092
* ``'additionalProperties' is required``: dottxt-ai/outlines, issue 844; for
  a function openai/codex, issue 7758; in Responses
  mavam/pi-web-providers, issue 14
* ``maximum context length``: bytedance/deer-flow, issue 310; ``exceeds the
  context window``: anomalyco/opencode, issue 6071
* ``must contain the word 'json'``: langchain-ai/langchain's discussions and
  Azure's documentation of JSON mode, both APIs
* the sentences of limits (``empty array``, ``array too long``, ``string too
  long``, ``does not match pattern``, ``above maximum value``, ...) are one
  template each, which stands in many public error logs; so do those of
  parameters that need another one

An unknown model is accepted on purpose. What is not served at all is
refused in words of its own, and named in ``--help``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from workshop.practice.ask import (
    Problem,
    Tool,
    Turn,
    invalid_value,
    missing,
    need,
    wrong_type,
)

NAME = "^[a-zA-Z0-9_-]+$"
LONGEST_NAME = 64
MOST_TOOLS = 128
CHOICES = ("none", "auto", "required")
FORMS = ("json_object", "json_schema", "text")
MOST_STOPS = 4
MOST_CHOICES = 8  # of OpenAI's 128: they are written at once

# parameter: (type, least, most)
_CHAT: dict[str, tuple[type, Any, Any]] = {
    "messages": (list, 1, None),
    "model": (str, None, None),
    "frequency_penalty": (float, -2, 2),
    "logprobs": (bool, None, None),
    "max_completion_tokens": (int, 1, None),
    "max_tokens": (int, 1, None),
    "n": (int, 1, 128),
    "parallel_tool_calls": (bool, None, None),
    "presence_penalty": (float, -2, 2),
    "response_format": (dict, None, None),
    "seed": (int, None, None),
    "store": (bool, None, None),
    "stream": (bool, None, None),
    "stream_options": (dict, None, None),
    "temperature": (float, 0, 2),
    "tools": (list, 1, MOST_TOOLS),
    "top_logprobs": (int, 0, 20),
    "top_p": (float, 0, 1),
    "user": (str, None, None),
}
_CHAT_OPEN = (
    *("stop", "tool_choice", "logit_bias", "metadata", "modalities"),
    *("moderation", "prompt_cache_key", "prompt_cache_options"),
    *("prompt_cache_retention", "reasoning_effort", "safety_identifier"),
    *("service_tier", "verbosity"),
)
_CHAT_NOT_SERVED = (
    *("audio", "function_call", "functions", "prediction"),
    *("web_search_options",),
)

_RESPONSES: dict[str, tuple[type, Any, Any]] = {
    "model": (str, None, None),
    "instructions": (str, None, None),
    "max_output_tokens": (int, 16, None),
    "parallel_tool_calls": (bool, None, None),
    "previous_response_id": (str, None, None),
    "store": (bool, None, None),
    "stream": (bool, None, None),
    "stream_options": (dict, None, None),
    "temperature": (float, 0, 2),
    "text": (dict, None, None),
    "tools": (list, None, MOST_TOOLS),
    "top_logprobs": (int, 0, 20),
    "top_p": (float, 0, 1),
    "user": (str, None, None),
}
_RESPONSES_OPEN = (
    *("input", "tool_choice", "access_programs", "context_management"),
    *("include", "metadata", "moderation", "max_tool_calls"),
    *("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
    *("reasoning", "safety_identifier", "service_tier", "truncation"),
    *("background", "background_options"),
)
_RESPONSES_NOT_SERVED = ("conversation", "prompt", "image")


def check_chat(body: dict[str, Any]) -> None:
    """Raise Problem for what the body of a chat request may not say."""
    if body.get("model") is None:
        raise _problem("you must provide a model parameter", None)
    unknown = set(body).difference(_CHAT, _CHAT_OPEN, _CHAT_NOT_SERVED)
    if unknown:
        noun = "arguments" if len(unknown) > 1 else "argument"
        named = ", ".join(sorted(unknown))
        raise _problem(f"Unrecognized request {noun} supplied: {named}", None)
    _check_served(body, _CHAT_NOT_SERVED)
    if body.get("messages") is None:
        raise missing("messages")
    _check_values(body, _CHAT)
    if (body.get("n") or 1) > MOST_CHOICES:
        raise _problem(
            f"The practice model gives at most {MOST_CHOICES} choices.", "n"
        )
    if None not in (body.get("max_tokens"), body.get("max_completion_tokens")):
        raise _problem(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same "
            "time is not supported.",
            "max_tokens",
            "invalid_parameter_combination",
        )
    if body.get("stream_options") is not None and not body.get("stream"):
        raise _only_with("stream_options", "stream")
    if body.get("top_logprobs") is not None and not body.get("logprobs"):
        raise _only_with("top_logprobs", "logprobs")
    for name in ("tool_choice", "parallel_tool_calls"):
        if body.get(name) is not None and not body.get("tools"):
            raise _problem(
                f"Invalid value for '{name}': '{name}' is only allowed when "
                "'tools' are specified.",
                name,
            )
    stop = body.get("stop")
    if isinstance(stop, list):
        _check_length(stop, "stop", None, MOST_STOPS)
    elif stop is not None and not isinstance(stop, str):
        raise wrong_type(
            "stop", "one of an array of strings or a string", stop
        )


def check_responses(body: dict[str, Any]) -> None:
    """Raise Problem for what the body of a Responses request may not say."""
    known = {*_RESPONSES, *_RESPONSES_OPEN, *_RESPONSES_NOT_SERVED}
    for name in body:
        if name not in known:
            raise _problem(
                f"Unknown parameter: '{name}'.", name, "unknown_parameter"
            )
    _check_served(body, _RESPONSES_NOT_SERVED)
    if body.get("background"):
        raise _problem(
            "The practice model answers at once: it has no 'background'.",
            "background",
        )
    for name in ("model", "input"):
        if body.get(name) is None:
            raise missing(name)
    _check_values(body, _RESPONSES)


def read_tools(tools: Any, inside: str) -> tuple[Tool, ...]:
    """The functions on offer; Problem for one that may not be offered so.

    ``inside`` is ``function`` where each of them stands in one more object.
    """
    return tuple(
        _read_tool(tool, f"tools[{index}]", inside)
        for index, tool in enumerate(tools or ())
    )


def _read_tool(tool: Any, where: str, inside: str) -> Tool:
    tool = need(tool, where, dict, "an object")
    function, where = _read_function(tool, where, inside)
    check_name(function.get("name"), f"{where}.name")
    schema = function.get("parameters") or {}
    what = f"function '{function['name']}'"
    param = f"{where}.parameters"
    need(schema, param, dict, "an object")
    code = "invalid_function_parameters"
    _check_root(schema, what, param, code)
    if function.get("strict"):
        _check_strict(schema, what, param, code)
    return Tool(function["name"], function.get("description") or "", schema)


def read_choice(choice: Any, tools: Iterable[Tool], inside: str) -> str:
    """Which tool must be called, if any; ``inside`` as for the tools."""
    if choice is None:
        return "auto"
    if isinstance(choice, str):
        if choice not in CHOICES:
            raise invalid_value("tool_choice", choice, CHOICES)
        return choice
    choice = need(choice, "tool_choice", dict, "a string or an object")
    function, where = _read_function(choice, "tool_choice", inside)
    name = need(function.get("name"), f"{where}.name", str, "a string")
    if all(tool.name != name for tool in tools):
        raise _problem(
            f"Tool choice '{name}' not found in 'tools' parameter.",
            "tool_choice",
        )
    return name


def _read_function(
    value: dict[str, Any], where: str, inside: str
) -> tuple[dict[str, Any], str]:
    """The function that an object describes, and its place."""
    kind = need(value.get("type"), f"{where}.type", str, "a string")
    if kind != "function":
        raise _problem(
            f"The practice model knows no tools of the type {kind!r}, only "
            "functions.",
            f"{where}.type",
            "unsupported_value",
        )
    if not inside:
        return value, where
    where = f"{where}.{inside}"
    return need(value.get(inside), where, dict, "an object"), where


def read_kind(form: Any, where: str) -> str:
    """The type of the form that an answer is wanted in."""
    if form is None:
        return "text"
    form = need(form, where, dict, "an object")
    kind = need(form.get("type"), f"{where}.type", str, "a string")
    if kind not in FORMS:
        raise invalid_value(f"{where}.type", kind, FORMS)
    return kind


def check_format(
    form: Mapping[str, Any], where: str, param: str, code: str | None
) -> None:
    """Raise Problem for a JSON schema that an answer may not have."""
    check_name(form.get("name"), f"{where}.name")
    schema = form.get("schema")
    if schema is None:
        return
    if not isinstance(schema, dict):
        raise wrong_type(f"{where}.schema", "an object", schema)
    what = f"response_format '{form['name']}'"
    if form.get("strict"):
        _check_root(schema, what, param, code)
        _check_strict(schema, what, param, code)


def check_name(name: Any, where: str) -> None:
    if name is None:
        raise missing(where)
    if not isinstance(name, str):
        raise wrong_type(where, "a string", name)
    _check_string(name, where, LONGEST_NAME)
    if not re.fullmatch(NAME[1:-1], name):
        raise _problem(
            f"Invalid '{where}': string does not match pattern. Expected a "
            f"string that matches the pattern '{NAME}'.",
            where,
            "invalid_value",
        )


def check_mentions_json(
    turns: Iterable[Turn], message: str, param: str
) -> None:
    """JSON mode needs the word in the prompt."""
    if not any("json" in turn.text.lower() for turn in turns):
        raise _problem(message, param)


def _check_served(body: Mapping[str, Any], names: Iterable[str]) -> None:
    for name in names:
        if body.get(name) is not None:
            raise _problem(
                f"The practice model does not serve '{name}'.",
                name,
                "unsupported_parameter",
            )


def _check_values(
    body: Mapping[str, Any], table: Mapping[str, tuple[type, Any, Any]]
) -> None:
    expected = {
        str: "a string",
        int: "an integer",
        float: "a decimal",
        bool: "a boolean",
        list: "an array",
        dict: "an object",
    }
    for name, (kind, least, most) in table.items():
        value = body.get(name)
        if value is None:
            continue
        fits = (int, float) if kind is float else kind
        number = kind in (int, float)
        flag = isinstance(value, bool) and kind is not bool
        if flag or not isinstance(value, fits):
            raise wrong_type(name, expected[kind], value)
        if kind is list:
            _check_length(value, name, least, most)
        elif number:
            _check_range(value, name, kind, least, most)


def _check_range(
    value: float, name: str, kind: type, least: Any, most: Any
) -> None:
    noun = "integer" if kind is int else "decimal"
    for bound, side, sign, broken in (
        (least, "below minimum", ">=", least is not None and value < least),
        (most, "above maximum", "<=", most is not None and value > most),
    ):
        if broken:
            code = f"{noun}_{side[:5]}_{side[6:9]}_value"
            raise _problem(
                f"Invalid '{name}': {noun} {side} value. Expected a value "
                f"{sign} {bound}, but got {value} instead.",
                name,
                code,
            )


def _check_length(
    value: list[Any], name: str, least: int | None, most: int | None
) -> None:
    if least and not value:
        raise empty_array(name)
    if most is not None and len(value) > most:
        raise too_many(name, most, len(value))


def empty_array(name: str) -> Problem:
    return _problem(
        f"Invalid '{name}': empty array. Expected an array with minimum "
        "length 1, but got an empty array instead.",
        name,
        "empty_array",
    )


def too_many(name: str, most: int, length: int) -> Problem:
    return _problem(
        f"Invalid '{name}': array too long. Expected an array with maximum "
        f"length {most}, but got an array with length {length} instead.",
        name,
        "array_above_max_length",
    )


def _check_string(value: str, name: str, most: int) -> None:
    if not value:
        raise _problem(
            f"Invalid '{name}': empty string. Expected a string with minimum "
            "length 1, but got an empty string instead.",
            name,
            "empty_string",
        )
    if len(value) > most:
        raise _problem(
            f"Invalid '{name}': string too long. Expected a string with "
            f"maximum length {most}, but got a string with length "
            f"{len(value)} instead.",
            name,
            "string_above_max_length",
        )


def _check_root(
    schema: dict[str, Any], what: str, param: str, code: str | None
) -> None:
    kind = schema.get("type")
    if kind != "object" and schema:
        raise _problem(
            f"Invalid schema for {what}: schema must be a JSON Schema of "
            f"'type: \"object\"', got 'type: \"{kind}\"'.",
            param,
            code,
        )


# Keywords that a strict schema may not have.
_NOT_PERMITTED = (
    *("allOf", "oneOf", "not", "if", "then", "else", "dependentRequired"),
    *("dependentSchemas", "patternProperties"),
)


def _check_strict(
    schema: Any,
    what: str,
    param: str,
    code: str | None,
    path: tuple[str, ...] = (),
) -> None:
    """What a strict schema must have, on each level."""
    if not isinstance(schema, dict):
        return

    def refused(message: str) -> Problem:
        context = "(" + ", ".join(map(repr, path))
        context += ",)" if len(path) == 1 else ")"
        return _problem(
            f"Invalid schema for {what}: In context={context}, {message}",
            param,
            code,
        )

    for name in _NOT_PERMITTED:
        if name in schema:
            raise refused(f"'{name}' is not permitted.")
    parts = schema.get("properties")
    parts = parts if isinstance(parts, dict) else {}
    if schema.get("type") == "object" or parts:
        if schema.get("additionalProperties") is not False:
            raise refused(
                "'additionalProperties' is required to be supplied and to be "
                "false."
            )
        for name in parts:
            if name not in (schema.get("required") or ()):
                raise refused(
                    "'required' is required to be supplied and to be an array "
                    "including every key in properties. Missing "
                    f"'{name}'."
                )
    if schema.get("type") == "array" and "items" not in schema:
        raise refused("array schema missing items.")
    for keyword in ("properties", "$defs", "definitions"):
        inner = schema.get(keyword)
        for name, part in inner.items() if isinstance(inner, dict) else ():
            _check_strict(part, what, param, code, (*path, keyword, name))
    _check_strict(schema.get("items"), what, param, code, (*path, "items"))
    variants = schema.get("anyOf")
    for number, part in enumerate(
        variants if isinstance(variants, list) else ()
    ):
        inside = (*path, "anyOf", str(number))
        _check_strict(part, what, param, code, inside)


def _only_with(name: str, needed: str) -> Problem:
    return _problem(
        f"The '{name}' parameter is only allowed when '{needed}' is enabled.",
        name,
    )


def _problem(
    message: str, param: str | None, code: str | None = None
) -> Problem:
    return Problem(400, message, param=param, code=code)
