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

* ``got a value without the 'data:' prefix``: Alibaba-NLP/OmniSearch, issue 3;
  the pattern of a message's ``name``: langchain-ai/langchain, issue 35054
* the values that a part's type may have: openai/openai-dotnet, issue 396, and
  MervinPraison/PraisonAI, issue 3934 (Responses); those of a role:
  run-llama/llama_index, issue 17748, and anomalyco/opencode, issue 10803
* ``is not of type 'object', 'boolean'``: FoundationAgents/OpenManus, issue
  1162; ``object schema missing properties``: spring-projects/spring-ai, issue
  4776; ``array schema missing items``: streamnative/streamnative-mcp-server,
  issue 26; ``at the top level``: nspady/google-calendar-mcp, issue 39
* ``schema must have a 'type' key``: apexive/odoo-llm, issue 212; ``Extra
  required key``: akitaonrails/ai-memory, issue 628; ``$ref cannot have
  keywords``: vectorize-io/hindsight, pull request 3944; ``is not permitted``:
  can1357/oh-my-pi, issue 209
* ``only allowed when 'store' is enabled``: QwenLM/qwen-code, issue 243;
  ``is too large``: tailcallhq/forgecode, issue 1185; ``Invalid key in
  'logit_bias'``: OkGoDoIt/OpenAI-API-dotnet, issue 163; an argument that
  gpt-4o does not have: generative-computing/mellea, issue 270; ``Unknown
  parameter`` inside an object: spring-projects/spring-ai, issue 2969
* ``this parameter has moved``: MuiseDestiny/zotero-gpt, issue 502; ``Expected
  an ID that begins with``: Wei-Shaw/sub2api, issues 3785 and 3981
* ``'$.input' is invalid``: MaartenGr/BERTopic, issue 1594; the formats of
  embeddings: lm-sys/FastChat, pull request 2281

An unknown model is accepted on purpose. What is not served at all is
refused in words of its own, and named in ``--help``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from workshop.practice.ask import Problem, Tool, Turn
from workshop.practice.shapes import (
    Shape,
    anything,
    array,
    either,
    flag,
    number,
    problem,
    record,
    tagged,
    text,
    unknown,
)

MOST_CHOICES = 8  # of OpenAI's 128: they are written at once
MOST_COMPLETION = 16_384  # tokens, of the models of the family gpt-4o

_NAME = text(least=1, most=64, pattern="^[a-zA-Z0-9_-]+$")
_TEXT = text()
_BOTH = "one of a string or array of objects"


def _image(value: Any, name: str) -> None:
    _TEXT(value, name)
    if not re.match(r"(?:https?|data):", value):
        raise problem(
            f"Invalid image URL: '{name}'. Expected a base64-encoded data URL "
            "with an image MIME type (e.g. 'data:image/png;base64,aW1nIGJ5dGVz"
            "IGhlcmU='), but got a value without the 'data:' prefix.",
            name,
            "invalid_value",
        )


def _biases(value: Any, name: str) -> None:
    record(number(float, -100, 100))(value, name)
    for key in value:
        if not key.isdecimal():
            raise problem(
                f"Invalid key in 'logit_bias': {key}. You should only be "
                "submitting non-negative integers.",
                name,
            )


def _id(prefix: str) -> Shape:
    def check(value: Any, name: str) -> None:
        _TEXT(value, name)
        if not value.startswith(prefix):
            raise problem(
                f"Invalid '{name}': '{value}'. Expected an ID that begins "
                f"with '{prefix}'.",
                name,
                "invalid_value",
            )

    return check


_DETAIL = text("low", "high", "auto", "original")
_OPEN = record()
_PART = tagged(
    "type",
    text=record(text_=_TEXT),
    image_url=record(image_url_=record(url_=_image, detail=_DETAIL)),
    input_audio=_OPEN,
    refusal=record(refusal_=_TEXT),
    audio=_OPEN,
    file=_OPEN,
)
_MESSAGE: dict[str, Shape] = {
    "content": either(_BOTH, str=anything, list=array(_PART, 1)),
    "name": text(pattern=r"^[^\s<|\\/>]+$"),
}
_CALL = record(
    id_=_TEXT,
    type_=text("function"),
    function_=record(name_=_NAME, arguments_=_TEXT),
)
_TURN = tagged(
    "role",
    system=record(**_MESSAGE),
    assistant=record(**_MESSAGE, tool_calls=array(_CALL, 1)),
    user=record(**_MESSAGE),
    function=_OPEN,
    tool=record(**_MESSAGE, tool_call_id_=_TEXT),
    developer=record(**_MESSAGE),
)
_FUNCTION: dict[str, Shape] = {
    "name_": _NAME,
    "description": _TEXT,
    "parameters": anything,
    "strict": flag,
}
_FORM: dict[str, Shape] = {
    "name_": _NAME,
    "description": _TEXT,
    "strict": flag,
}
_CHOSEN = text("none", "auto", "required")
_CHOICE = "a string or an object"
_NO_FORM = record(None, type_=_TEXT)
_TIER = text("auto", "default", "flex", "scale", "priority")
_EFFORT = text("none", "minimal", "low", "medium", "high", "xhigh")
_METADATA = record(text(most=512))


def _tools(**parts: Shape) -> Shape:
    """Tools, of which only functions are looked at."""
    function = record(None, type_=_TEXT, **parts)

    def check(value: Any, name: str) -> None:
        record(type_=_TEXT)(value, name)
        if value["type"] != "function":
            raise problem(
                f"The practice model knows no tools of the type "
                f"{value['type']!r}, only functions.",
                f"{name}.type",
                "unsupported_value",
            )
        function(value, name)

    return check


# What both APIs have.
_SAMPLING: dict[str, Shape] = {
    "model_": _TEXT,
    "metadata": _METADATA,
    "parallel_tool_calls": flag,
    "prompt_cache_key": _TEXT,
    "safety_identifier": _TEXT,
    "service_tier": _TIER,
    "store": flag,
    "stream": flag,
    "temperature": number(float, 0, 2),
    "top_logprobs": number(int, 0, 20),
    "top_p": number(float, 0, 1),
    "user": _TEXT,
    "moderation": anything,
    "prompt_cache_options": anything,
    "prompt_cache_retention": anything,
}
_CHAT: dict[str, Shape] = {
    **_SAMPLING,
    "messages_": array(_TURN, 1),
    "frequency_penalty": number(float, -2, 2),
    "logit_bias": _biases,
    "logprobs": flag,
    "max_completion_tokens": number(int, 1),
    "max_tokens": number(int, 1),
    "modalities": array(text("text", "audio")),
    "n": number(int, 1, 128),
    "presence_penalty": number(float, -2, 2),
    "reasoning_effort": _EFFORT,
    "response_format": tagged(
        "type",
        json_object=_NO_FORM,
        json_schema=record(
            None,
            type_=_TEXT,
            json_schema_=record(None, schema=record(), **_FORM),
        ),
        text=_NO_FORM,
    ),
    "seed": number(int),
    "stop": either(
        "one of an array of strings or a string",
        str=anything,
        list=array(_TEXT, 0, 4),
    ),
    "stream_options": record(
        None, include_usage=flag, include_obfuscation=flag
    ),
    "tool_choice": either(
        _CHOICE,
        str=_CHOSEN,
        dict=record(type_=_TEXT, function_=record(name_=_TEXT)),
    ),
    "tools": array(_tools(function_=record(None, **_FUNCTION)), 1, 128),
    "verbosity": text("low", "medium", "high"),
}
_CHAT_NOT_SERVED = (
    *("audio", "function_call", "functions", "prediction"),
    *("web_search_options",),
)

_RESPONSES_PART = tagged(
    "type",
    input_text=record(text_=_TEXT),
    input_image=record(image_url=_image, detail=_DETAIL),
    input_audio=_OPEN,
    output_text=record(text_=_TEXT),
    refusal=record(refusal_=_TEXT),
    input_file=_OPEN,
    computer_screenshot=_OPEN,
    summary_text=_OPEN,
    encrypted_content=_OPEN,
)
_SAID = either(_BOTH, str=anything, list=array(_RESPONSES_PART))
_ITEMS = {
    "message": record(
        role_=text("assistant", "system", "developer", "user"),
        content_=_SAID,
        id=_id("msg"),
    ),
    "function_call": record(
        call_id_=_TEXT, name_=_TEXT, arguments_=_TEXT, id=_id("fc")
    ),
    "function_call_output": record(call_id_=_TEXT, output_=_SAID),
    "reasoning": record(id=_id("rs")),
    "item_reference": record(id_=_TEXT),
}


def kind_of(item: Mapping[str, Any]) -> str:
    """The type of an item of a Responses input, which may be left out."""
    if "type" not in item and "role" not in item and "id" in item:
        return "item_reference"
    return item.get("type") or "message"


def _item(value: Any, name: str) -> None:
    record(type=_TEXT)(value, name)
    kind = kind_of(value)
    if kind not in _ITEMS:
        raise problem(
            f"The practice model knows no items of the type {kind!r}.",
            f"{name}.type",
            "unsupported_value",
        )
    _ITEMS[kind](value, name)


_FORMAT = tagged(
    "type",
    json_object=_NO_FORM,
    json_schema=record(None, type_=_TEXT, schema_=record(), **_FORM),
    text=_NO_FORM,
)
_RESPONSES: dict[str, Shape] = {
    **_SAMPLING,
    "input_": either("an array", str=anything, list=array(_item, 1)),
    "include": array(_TEXT),
    "instructions": _TEXT,
    "max_output_tokens": number(int, 16),
    "max_tool_calls": number(int, 1),
    "previous_response_id": _TEXT,
    "reasoning": record(effort=_EFFORT),
    "stream_options": record(None, include_obfuscation=flag),
    "text": record(format=_FORMAT, verbosity=text("low", "medium", "high")),
    "tool_choice": either(
        _CHOICE, str=_CHOSEN, dict=record(type_=_TEXT, name_=_TEXT)
    ),
    "tools": array(_tools(**_FUNCTION), 0, 128),
    "truncation": text("auto", "disabled"),
    "access_programs": anything,
    "context_management": anything,
    "background": flag,
    "background_options": anything,
}
_RESPONSES_NOT_SERVED = ("conversation", "prompt", "image")
_MOVED = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
}


def _names(shapes: Iterable[str]) -> set[str]:
    return {name.removesuffix("_") for name in shapes}


def check_chat(body: dict[str, Any]) -> None:
    """Raise Problem for what the body of a chat request may not say."""
    if body.get("model") is None:
        raise problem("you must provide a model parameter", None)
    known = _names(_CHAT)
    family = str(body["model"]).startswith("gpt-4")
    if family and body.get("reasoning_effort") is not None:
        known.discard("reasoning_effort")
    strange = set(body).difference(known, _CHAT_NOT_SERVED)
    if strange:
        noun = "arguments" if len(strange) > 1 else "argument"
        named = ", ".join(sorted(strange))
        raise problem(f"Unrecognized request {noun} supplied: {named}", None)
    _check_served(body, _CHAT_NOT_SERVED)
    record(**_CHAT)(body, "")
    if any(turn["role"] == "function" for turn in body["messages"]):
        raise problem(
            "The practice model does not serve the role 'function'.",
            "messages",
            "unsupported_value",
        )
    if (body.get("n") or 1) > MOST_CHOICES:
        raise problem(
            f"The practice model gives at most {MOST_CHOICES} choices.", "n"
        )
    limits = ("max_tokens", "max_completion_tokens")
    given = [name for name in limits if body.get(name) is not None]
    if len(given) > 1:
        raise problem(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same "
            "time is not supported.",
            "max_tokens",
            "invalid_parameter_combination",
        )
    for name in given if body["model"].startswith("gpt-4o") else ():
        if body[name] > MOST_COMPLETION:
            raise problem(
                f"{name} is too large: {body[name]}. This model supports at "
                f"most {MOST_COMPLETION} completion tokens, whereas you "
                f"provided {body[name]}.",
                name,
                "invalid_value",
            )
    for name, needed in (
        ("stream_options", "stream"),
        ("top_logprobs", "logprobs"),
        ("metadata", "store"),
    ):
        said = body.get(name)
        silent = said is None or (name == "metadata" and not said)
        if not silent and not body.get(needed):
            raise problem(
                f"The '{name}' parameter is only allowed when '{needed}' is "
                "enabled.",
                name,
            )
    for name in ("tool_choice", "parallel_tool_calls"):
        if body.get(name) is not None and not body.get("tools"):
            raise problem(
                f"Invalid value for '{name}': '{name}' is only allowed when "
                "'tools' are specified.",
                name,
            )


def check_responses(body: dict[str, Any]) -> None:
    """Raise Problem for what the body of a Responses request may not say."""
    known = _names(_RESPONSES).union(_RESPONSES_NOT_SERVED)
    for name in body:
        if name in _MOVED:
            raise problem(
                f"Unsupported parameter: '{name}'. In the Responses API, this "
                f"parameter has moved to '{_MOVED[name]}'. Try again with the "
                "new parameter. See the API documentation for more "
                "information: https://platform.openai.com/docs/api-reference/"
                "responses/create.",
                name,
                "unsupported_parameter",
            )
        if name not in known:
            raise unknown(name)
    _check_served(body, _RESPONSES_NOT_SERVED)
    if body.get("background"):
        raise problem(
            "The practice model answers at once: it has no 'background'.",
            "background",
        )
    record(**_RESPONSES)(body, "")


def check_embeddings(body: dict[str, Any]) -> None:
    """Raise Problem for what a request for embeddings may not say."""
    if body.get("model") is None:
        raise problem("you must provide a model parameter", None)
    form = body.get("encoding_format") or "float"
    if form not in ("float", "base64"):
        raise problem(
            f"Invalid value for 'encoding_format' = {form}. Supported "
            "values: ['float', 'base64'].",
            None,
        )
    record(
        model_=_TEXT,
        input_=anything,
        dimensions=number(int, 1, 4096),
        user=_TEXT,
    )(body, "")
    inputs = body["input"]
    if isinstance(inputs, list):
        array(anything, 1, 2048)(inputs, "input")
    kinds = str | list | int if isinstance(inputs, list) else str
    parts = inputs if isinstance(inputs, list) else [inputs]
    if not all(isinstance(p, kinds) and p not in ("", []) for p in parts):
        raise problem(
            "'$.input' is invalid. Please check the API reference: "
            "https://platform.openai.com/docs/api-reference.",
            None,
        )


def read_tools(tools: Any, inside: str) -> tuple[Tool, ...]:
    """The functions on offer; Problem for one that may not be offered so.

    ``inside`` is ``function`` where each of them stands in one more object.
    """
    return tuple(
        _read_tool(tool[inside] if inside else tool, f"tools[{index}]", inside)
        for index, tool in enumerate(tools or ())
    )


def _read_tool(function: Any, where: str, inside: str) -> Tool:
    schema = function.get("parameters") or {}
    param = f"{where}.{inside}.parameters".replace("..", ".")
    strict = bool(function.get("strict"))
    _check_schema(
        function.get("parameters"),
        f"function '{function['name']}'",
        param,
        "invalid_function_parameters",
        strict,
    )
    return Tool(function["name"], function.get("description") or "", schema)


def read_choice(choice: Any, tools: Iterable[Tool], inside: str) -> str:
    """Which tool must be called, if any; ``inside`` as for the tools."""
    if choice is None or isinstance(choice, str):
        return choice or "auto"
    if choice["type"] != "function":
        raise problem(
            f"The practice model knows no choice of the type "
            f"{choice['type']!r}, only functions.",
            "tool_choice.type",
            "unsupported_value",
        )
    name = (choice[inside] if inside else choice)["name"]
    if all(tool.name != name for tool in tools):
        raise problem(
            f"Tool choice '{name}' not found in 'tools' parameter.",
            "tool_choice",
        )
    return name


def check_format(
    form: Mapping[str, Any], param: str, code: str | None
) -> None:
    """Raise Problem for a JSON schema that an answer may not have."""
    if form.get("strict"):
        what = f"response_format '{form['name']}'"
        _check_schema(form.get("schema"), what, param, code, True)


def check_mentions_json(
    turns: Iterable[Turn], message: str, param: str
) -> None:
    """JSON mode needs the word in the prompt."""
    if not any("json" in turn.text.lower() for turn in turns):
        raise problem(message, param)


def _check_served(body: Mapping[str, Any], names: Iterable[str]) -> None:
    for name in names:
        if body.get(name) is not None:
            raise problem(
                f"The practice model does not serve '{name}'.",
                name,
                "unsupported_parameter",
            )


_TYPES = (
    *("string", "number", "integer", "boolean", "object", "array", "null"),
)
_ROOT = ("oneOf", "anyOf", "allOf", "enum", "not")
# Keywords that a strict schema may not have.
_NOT_PERMITTED = (
    *("allOf", "oneOf", "not", "if", "then", "else", "dependentRequired"),
    *("dependentSchemas", "patternProperties", "propertyNames", "contains"),
    *("uniqueItems", "minProperties", "maxProperties", "default"),
    *("unevaluatedProperties", "unevaluatedItems"),
)
_FORMATS = (
    *("date-time", "time", "date", "duration", "email", "hostname"),
    *("ipv4", "ipv6", "uuid"),
)
_NEEDS_TYPE = ("type", "$ref", "anyOf", "enum", "const", *_NOT_PERMITTED)


def _check_schema(
    schema: Any, what: str, param: str, code: str | None, strict: bool
) -> None:
    """Raise Problem for what a schema may not be, on each level."""

    def refused(message: str) -> Problem:
        return problem(f"Invalid schema for {what}: {message}", param, code)

    if schema is None or schema == {}:
        return
    if not isinstance(schema, dict):
        raise refused(f"{schema!r} is not of type 'object', 'boolean'.")
    kind = schema.get("type")
    if kind != "object":
        raise refused(
            "schema must be a JSON Schema of 'type: \"object\"', got 'type: "
            f'"{kind}"\'.'
        )
    if not set(_ROOT).isdisjoint(schema):
        raise refused(
            "schema must have type 'object' and not have 'oneOf'/'anyOf'/"
            "'allOf'/'enum'/'not' at the top level."
        )
    if not {"properties", "additionalProperties", "$ref"} & set(schema):
        raise refused("In context=(), object schema missing properties.")
    for path, part in _parts(schema, ()):
        context = f"context={path!r}, "
        for message in _broken(part):
            raise refused(message)
        kinds = part.get("type")
        kinds = kinds if isinstance(kinds, list) else [kinds]
        if "array" in kinds and "items" not in part:
            raise refused(f"In {context}array schema missing items.")
        for message in _not_strict(part, schema) if strict else ():
            near = "" if message.startswith("$ref") else "In "
            raise refused(near + context + message)


def _parts(
    schema: Any, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """A schema and those in it, each with its place."""
    if not isinstance(schema, dict):
        return
    yield path, schema
    for keyword in ("properties", "$defs", "definitions"):
        inner = schema.get(keyword)
        for name, part in inner.items() if isinstance(inner, dict) else ():
            yield from _parts(part, (*path, keyword, name))
    yield from _parts(schema.get("items"), (*path, "items"))
    variants = schema.get("anyOf")
    for index, part in enumerate(
        variants if isinstance(variants, list) else ()
    ):
        yield from _parts(part, (*path, "anyOf", str(index)))


def _broken(part: dict[str, Any]) -> Iterator[str]:
    """Why this is no JSON schema."""
    kinds = part.get("type", [])
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if kind not in _TYPES:
            yield f"{kinds!r} is not valid under any of the given schemas."
    required = part.get("required", [])
    if not isinstance(required, list):
        yield f"{required!r} is not of type 'array'."


def _not_strict(part: dict[str, Any], root: dict[str, Any]) -> Iterator[str]:
    """What a strict schema may not be."""
    for name in _NOT_PERMITTED:
        if name in part:
            yield f"'{name}' is not permitted."
    reference = part.get("$ref")
    beside = set(part) - {"$ref", "$defs", "definitions"}
    if reference and beside and part is not root:
        named = ", ".join(map(repr, sorted(beside)))
        yield f"$ref cannot have keywords {{{named}}}."
    if set(_NEEDS_TYPE).isdisjoint(part):
        yield "schema must have a 'type' key."
    if part.get("format", "date") not in _FORMATS:
        yield f"'{part['format']}' is not a valid format."
    parts = part.get("properties")
    parts = parts if isinstance(parts, dict) else {}
    if part.get("type") == "object" or parts:
        if part.get("additionalProperties") is not False:
            yield (
                "'additionalProperties' is required to be supplied and to be "
                "false."
            )
        required = part.get("required") or ()
        wrong = [f"Missing '{name}'" for name in parts if name not in required]
        wrong += [
            f"Extra required key '{name}' supplied"
            for name in required
            if name not in parts
        ]
        for reason in wrong:
            yield (
                "'required' is required to be supplied and to be an array "
                f"including every key in properties. {reason}."
            )
