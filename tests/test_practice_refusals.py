"""What OpenAI refuses is refused, in OpenAI's words.

The sources of the sentences stand in ``workshop/practice/rules.py``.
"""

import copy

import pytest
from practice_client import chat, fast_model, send

PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
NAME = "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
CALLS = [
    {
        "id": "c1",
        "type": "function",
        "function": {"name": "f", "arguments": "{}"},
    }
]


@pytest.fixture(scope="module")
def model():
    return fast_model()


def tool(**changes):
    function = {"name": "get_weather", "parameters": PARAMETERS, **changes}
    return {"type": "function", "function": function}


def flat(**changes):
    function = {"name": "get_weather", "parameters": PARAMETERS, **changes}
    return {"type": "function", **function}


def form(schema, **changes):
    named = {"name": "x", "strict": True, "schema": schema, **changes}
    return {"type": "json_schema", "json_schema": named}


def said(*messages):
    return {"messages": [{"role": "user", "content": "hi"}, *messages]}


def below(noun, bound, got):
    return (
        f"{noun} below minimum value. Expected a value >= {bound}, "
        f"but got {got} instead."
    )


def above(noun, bound, got):
    return (
        f"{noun} above maximum value. Expected a value <= {bound}, "
        f"but got {got} instead."
    )


EMPTY = (
    "empty array. Expected an array with minimum length 1, but got an empty "
    "array instead."
)
NESTED = copy.deepcopy(PARAMETERS)
NESTED["properties"]["city"] = {"type": "object", "properties": {}}

CHAT = {
    "no model": ({"model": None}, None, None,
        "you must provide a model parameter"),
    "no messages": ({"messages": None}, "messages",
        "missing_required_parameter",
        "Missing required parameter: 'messages'."),
    "messages are empty": ({"messages": []}, "messages", "empty_array",
        f"Invalid 'messages': {EMPTY}"),
    "an unknown argument": ({"flavour": 1}, None, None,
        "Unrecognized request argument supplied: flavour"),
    "a role that nobody has": (
        {"messages": [{"role": "waiter", "content": "hi"}]},
        "messages[0].role", "invalid_value",
        "Invalid value: 'waiter'. Supported values are: 'system', "
        "'assistant', 'user', 'function', 'tool', and 'developer'."),
    "null for a content": ({"messages": [{"role": "user", "content": None}]},
        "messages.[0].content", None,
        "Invalid value for 'content': expected a string, got null."),
    "tool calls without results": (
        said({"role": "assistant", "tool_calls": CALLS},
             {"role": "user", "content": "well?"}),
        "messages.[2].role", None,
        "An assistant message with 'tool_calls' must be followed by tool "
        "messages responding to each 'tool_call_id'. The following "
        "tool_call_ids did not have response messages: c1"),
    "a result without its call": (
        said({"role": "tool", "content": "7", "tool_call_id": "c1"}),
        "messages.[1].role", None,
        "Invalid parameter: messages with role 'tool' must be a response to "
        "a preceeding message with 'tool_calls'."),
    "a result without an id": (said({"role": "tool", "content": "7"}),
        "messages[1].tool_call_id", "missing_required_parameter",
        "Missing required parameter: 'messages[1].tool_call_id'."),
    "calls are empty": (
        said({"role": "assistant", "content": "hi", "tool_calls": []}),
        "messages[1].tool_calls", "empty_array",
        f"Invalid 'messages[1].tool_calls': {EMPTY}"),
    "a call without its type": (
        said({"role": "assistant",
              "tool_calls": [{**CALLS[0], "type": None}]}),
        "messages[1].tool_calls[0].type", "missing_required_parameter",
        "Missing required parameter: 'messages[1].tool_calls[0].type'."),
    "tools are empty": ({"tools": []}, "tools", "empty_array",
        f"Invalid 'tools': {EMPTY}"),
    "too many tools": ({"tools": [tool()] * 129}, "tools",
        "array_above_max_length",
        "Invalid 'tools': array too long. Expected an array with maximum "
        "length 128, but got an array with length 129 instead."),
    "a tool's name has spaces": ({"tools": [tool(name="get weather")]},
        "tools[0].function.name", "invalid_value",
        "Invalid 'tools[0].function.name': string does not match pattern. "
        + NAME),
    "a tool's name is too long": ({"tools": [tool(name="x" * 65)]},
        "tools[0].function.name", "string_above_max_length",
        "Invalid 'tools[0].function.name': string too long. Expected a "
        "string with maximum length 64, but got a string with length 65 "
        "instead."),
    "a tool without a type": ({"tools": [{**tool(), "type": None}]},
        "tools[0].type", "missing_required_parameter",
        "Missing required parameter: 'tools[0].type'."),
    "a tool takes no object": (
        {"tools": [tool(parameters={"type": "string"})]},
        "tools[0].function.parameters", "invalid_function_parameters",
        "Invalid schema for function 'get_weather': schema must be a JSON "
        "Schema of 'type: \"object\"', got 'type: \"string\"'."),
    "a strict tool that is open": (
        {"tools": [tool(strict=True, parameters={
            **PARAMETERS, "additionalProperties": True})]},
        "tools[0].function.parameters", "invalid_function_parameters",
        "Invalid schema for function 'get_weather': In context=(), "
        "'additionalProperties' is required to be supplied and to be "
        "false."),
    "tool_choice without tools": ({"tool_choice": "auto"}, "tool_choice",
        None, "Invalid value for 'tool_choice': 'tool_choice' is only "
        "allowed when 'tools' are specified."),
    "parallel_tool_calls without tools": ({"parallel_tool_calls": False},
        "parallel_tool_calls", None,
        "Invalid value for 'parallel_tool_calls': 'parallel_tool_calls' is "
        "only allowed when 'tools' are specified."),
    "a choice that there is not": (
        {"tools": [tool()], "tool_choice": "maybe"}, "tool_choice",
        "invalid_value", "Invalid value: 'maybe'. Supported values are: "
        "'none', 'auto', and 'required'."),
    "a choice that nobody offers": (
        {"tools": [tool()], "tool_choice": {
            "type": "function", "function": {"name": "fly"}}},
        "tool_choice", None,
        "Tool choice 'fly' not found in 'tools' parameter."),
    "temperature": ({"temperature": 5}, "temperature",
        "decimal_above_max_value",
        "Invalid 'temperature': " + above("decimal", 2, 5)),
    "a cold temperature": ({"temperature": -1}, "temperature",
        "decimal_below_min_value",
        "Invalid 'temperature': " + below("decimal", 0, -1)),
    "temperature in words": ({"temperature": "hot"}, "temperature",
        "invalid_type", "Invalid type for 'temperature': expected a decimal, "
        "but got a string instead."),
    "top_p": ({"top_p": 2}, "top_p", "decimal_above_max_value",
        "Invalid 'top_p': " + above("decimal", 1, 2)),
    "presence_penalty": ({"presence_penalty": 3}, "presence_penalty",
        "decimal_above_max_value",
        "Invalid 'presence_penalty': " + above("decimal", 2, 3)),
    "frequency_penalty": ({"frequency_penalty": -3}, "frequency_penalty",
        "decimal_below_min_value",
        "Invalid 'frequency_penalty': " + below("decimal", -2, -3)),
    "no choices": ({"n": 0}, "n", "integer_below_min_value",
        "Invalid 'n': " + below("integer", 1, 0)),
    "too many choices": ({"n": 129}, "n", "integer_above_max_value",
        "Invalid 'n': " + above("integer", 128, 129)),
    "max_tokens": ({"max_tokens": -3}, "max_tokens",
        "integer_below_min_value",
        "Invalid 'max_tokens': " + below("integer", 1, -3)),
    "two limits": ({"max_tokens": 4, "max_completion_tokens": 4},
        "max_tokens", "invalid_parameter_combination",
        "Setting 'max_tokens' and 'max_completion_tokens' at the same time "
        "is not supported."),
    "five stops": ({"stop": [*"abcde"]}, "stop", "array_above_max_length",
        "Invalid 'stop': array too long. Expected an array with maximum "
        "length 4, but got an array with length 5 instead."),
    "stream_options without stream": (
        {"stream_options": {"include_usage": True}}, "stream_options", None,
        "The 'stream_options' parameter is only allowed when 'stream' is "
        "enabled."),
    "stream in words": ({"stream": "yes"}, "stream", "invalid_type",
        "Invalid type for 'stream': expected a boolean, but got a string "
        "instead."),
    "top_logprobs without logprobs": ({"top_logprobs": 2}, "top_logprobs",
        None, "The 'top_logprobs' parameter is only allowed when 'logprobs' "
        "is enabled."),
    "seed": ({"seed": 1.5}, "seed", "invalid_type",
        "Invalid type for 'seed': expected an integer, but got a decimal "
        "instead."),
    "json_object without the word": (
        {"response_format": {"type": "json_object"}}, "messages", None,
        "'messages' must contain the word 'json' in some form, to use "
        "'response_format' of type 'json_object'."),
    "a format that there is not": ({"response_format": {"type": "xml"}},
        "response_format.type", "invalid_value",
        "Invalid value: 'xml'. Supported values are: 'json_object', "
        "'json_schema', and 'text'."),
    "a schema without a name": (
        {"response_format": form(PARAMETERS, name=None)},
        "response_format.json_schema.name", "missing_required_parameter",
        "Missing required parameter: 'response_format.json_schema.name'."),
    "a strict schema that is open": (
        {"response_format": form({**PARAMETERS,
                                  "additionalProperties": True})},
        "response_format", None,
        "Invalid schema for response_format 'x': In context=(), "
        "'additionalProperties' is required to be supplied and to be "
        "false."),
    "a part of a strict schema is open": (
        {"response_format": form(NESTED)}, "response_format", None,
        "Invalid schema for response_format 'x': In context=('properties', "
        "'city'), 'additionalProperties' is required to be supplied and to "
        "be false."),
    "a strict schema with a part that may be left out": (
        {"response_format": form({**PARAMETERS, "required": []})},
        "response_format", None,
        "Invalid schema for response_format 'x': In context=(), 'required' "
        "is required to be supplied and to be an array including every key "
        "in properties. Missing 'city'."),
    "a strict schema that is no object": (
        {"response_format": form({"type": "array"})}, "response_format",
        None, "Invalid schema for response_format 'x': schema must be a JSON "
        "Schema of 'type: \"object\"', got 'type: \"array\"'."),
}  # fmt: skip


def user(*parts, **more):
    content = [*parts] if parts else "hi"
    return {"messages": [{"role": "user", "content": content, **more}]}


def image(url):
    return user({"type": "image_url", "image_url": url})


def parts(**properties):
    """A closed object, as a strict schema is."""
    every = {"properties": properties, "required": [*properties]}
    return {"type": "object", **every, "additionalProperties": False}


def moved(name, to):
    return {name: 1}, name, (
        f"Unsupported parameter: '{name}'. In the Responses API, this "
        f"parameter has moved to '{to}'. Try again with the new parameter."
    )  # fmt: skip


TYPES = "Invalid type for '{}': expected {}, but got {} instead."
TOOL = "tools[0].function.parameters"
SCHEMA = "Invalid schema for function 'get_weather': "
FORM = "Invalid schema for response_format 'x': "
# (changes, param, how the message begins)
MORE_CHAT = [
    ({"model": 5}, "model", TYPES.format("model", "a string", "an integer")),
    (user(content=5), "messages[0].content", TYPES.format(
        "messages[0].content", "one of a string or array of objects",
        "an integer")),
    (user(content=[]), "messages[0].content",
        f"Invalid 'messages[0].content': {EMPTY}"),
    (user({"text": "hi"}), "messages[0].content[0].type",
        "Missing required parameter: 'messages[0].content[0].type'."),
    (user({"type": "input_text", "text": "hi"}),
        "messages[0].content[0].type",
        "Invalid value: 'input_text'. Supported values are: 'text', "
        "'image_url', 'input_audio', 'refusal', 'audio', and 'file'."),
    (image("http://x.org/a"), "messages[0].content[0].image_url",
        TYPES.format("messages[0].content[0].image_url", "an object",
                     "a string")),
    (image({"url": "iVBORw0K"}), "messages[0].content[0].image_url.url",
        "Invalid image URL: 'messages[0].content[0].image_url.url'. Expected "
        "a base64-encoded data URL with an image MIME type"),
    (user(name="a b"), "messages[0].name",
        "Invalid 'messages[0].name': string does not match pattern."),
    ({"stop": [1]}, "stop[0]",
        TYPES.format("stop[0]", "a string", "an integer")),
    ({"logit_bias": {"cat": 1}}, "logit_bias", "Invalid key in 'logit_bias': "
        "cat. You should only be submitting non-negative integers."),
    ({"logit_bias": {"1": 200}}, "logit_bias.1",
        "Invalid 'logit_bias.1': " + above("decimal", 100, 200)),
    ({"metadata": {"a": "b"}}, "metadata", "The 'metadata' parameter is only "
        "allowed when 'store' is enabled."),
    ({"metadata": {"a": 1}, "store": True}, "metadata.a",
        TYPES.format("metadata.a", "a string", "an integer")),
    ({"max_tokens": 100_000}, "max_tokens", "max_tokens is too large: 100000."
        " This model supports at most 16384 completion tokens, whereas you "
        "provided 100000."),
    ({"service_tier": "x"}, "service_tier", "Invalid value: 'x'."),
    ({"reasoning_effort": "low"}, None,
        "Unrecognized request argument supplied: reasoning_effort"),
    ({"stream": True, "stream_options": {"x": 1}}, "stream_options.x",
        "Unknown parameter: 'stream_options.x'."),
    ({"response_format": {"type": "json_schema", "schema": {}}},
        "response_format.schema",
        "Unknown parameter: 'response_format.schema'."),
    ({"tools": [flat()]}, "tools[0].name",
        "Unknown parameter: 'tools[0].name'."),
    ({"tools": [tool(strict="yes")]}, "tools[0].function.strict",
        TYPES.format("tools[0].function.strict", "a boolean", "a string")),
    ({"tools": [tool(parameters=[])]}, TOOL,
        SCHEMA + "[] is not of type 'object', 'boolean'."),
    ({"tools": [tool(parameters={"type": "object"})]}, TOOL,
        SCHEMA + "In context=(), object schema missing properties."),
    ({"tools": [tool(parameters=parts(a={"type": "array"}))]}, TOOL,
        SCHEMA + "In context=('properties', 'a'), array schema missing "
        "items."),
    ({"tools": [tool(parameters=parts(a={"type": "int"}))]}, TOOL,
        SCHEMA + "'int' is not valid under any of the given schemas."),
    ({"tools": [tool(parameters={**PARAMETERS, "anyOf": []})]}, TOOL,
        SCHEMA + "schema must have type 'object' and not have "
        "'oneOf'/'anyOf'/'allOf'/'enum'/'not' at the top level."),
    ({"response_format": form(parts(a={}))}, "response_format",
        FORM + "In context=('properties', 'a'), schema must have a 'type' "
        "key."),
    ({"response_format": form({**PARAMETERS, "required": ["city", "x"]})},
        "response_format", FORM + "In context=(), 'required' is required to "
        "be supplied and to be an array including every key in properties. "
        "Extra required key 'x' supplied."),
    ({"response_format": form(parts(a={"$ref": "#", "title": "A"}))},
        "response_format", FORM + "context=('properties', 'a'), $ref cannot "
        "have keywords {'title'}."),
    ({"response_format": form(parts(a={"type": "string", "default": ""}))},
        "response_format",
        FORM + "In context=('properties', 'a'), 'default' is not permitted."),
    ({"response_format": form(parts(a={"type": "string", "format": "uri"}))},
        "response_format",
        FORM + "In context=('properties', 'a'), 'uri' is not a valid format."),
]  # fmt: skip


def item(**parts):
    return {"input": [{"role": "user", "content": "hi"}, parts]}


MORE_RESPONSES = [
    moved("messages", "input"),
    moved("max_tokens", "max_output_tokens"),
    moved("response_format", "text.format"),
    (item(role="tool", content="x"), "input[1].role",
        "Invalid value: 'tool'. Supported values are: 'assistant', 'system', "
        "'developer', and 'user'."),
    (item(role="user", content=[{"type": "text", "text": "hi"}]),
        "input[1].content[0].type", "Invalid value: 'text'. Supported values "
        "are: 'input_text', 'input_image', 'input_audio', 'output_text',"),
    (item(type="function_call", call_id="c1", id="call_1", name="f",
          arguments="{}"), "input[1].id",
        "Invalid 'input[1].id': 'call_1'. Expected an ID that begins with "
        "'fc'."),
    ({"tools": [tool()]}, "tools[0].function",
        "Unknown parameter: 'tools[0].function'."),
    ({"text": {"format": {"type": "json_schema", "name": "x"}}},
        "text.format.schema",
        "Missing required parameter: 'text.format.schema'."),
    ({"truncation": "x"}, "truncation", "Invalid value: 'x'. Supported "
        "values are: 'auto' and 'disabled'."),
]  # fmt: skip
MORE = [
    *(("chat/completions", *case) for case in MORE_CHAT),
    *(("responses", *case) for case in MORE_RESPONSES),
    ("embeddings", {"input": ["a", ""]}, None, "'$.input' is invalid."),
    ("embeddings", {"encoding_format": "x"}, None, "Invalid value for "
        "'encoding_format' = x. Supported values: ['float', 'base64']."),
]  # fmt: skip


@pytest.mark.parametrize(("path", "changes", "param", "message"), MORE)
def test_more_is_refused(model, path, changes, param, message):
    body = chat("hi") if path[0] == "c" else {"model": "m", "input": "hi"}
    answer = send(model, "POST", f"/v1/{path}", body | changes)
    assert answer.status == 400
    error = answer.json["error"]
    assert error["message"].startswith(message)
    assert error["param"] == param


RESPONSES = {
    "no input": ({"input": None}, "input", "missing_required_parameter",
        "Missing required parameter: 'input'."),
    "an unknown argument": ({"flavour": 1}, "flavour", "unknown_parameter",
        "Unknown parameter: 'flavour'."),
    "max_output_tokens": ({"max_output_tokens": 2}, "max_output_tokens",
        "integer_below_min_value",
        "Invalid 'max_output_tokens': " + below("integer", 16, 2)),
    "temperature": ({"temperature": 5}, "temperature",
        "decimal_above_max_value",
        "Invalid 'temperature': " + above("decimal", 2, 5)),
    "a tool's name has spaces": ({"tools": [flat(name="get weather")]},
        "tools[0].name", "invalid_value",
        "Invalid 'tools[0].name': string does not match pattern. " + NAME),
    "a strict tool that is open": (
        {"tools": [flat(strict=True, parameters={
            **PARAMETERS, "additionalProperties": True})]},
        "tools[0].parameters", "invalid_function_parameters",
        "Invalid schema for function 'get_weather': In context=(), "
        "'additionalProperties' is required to be supplied and to be "
        "false."),
    "a call without a result": (
        {"input": [{"type": "function_call", "name": "f", "arguments": "{}",
                    "call_id": "c1"}]}, "input", None,
        "No tool output found for function call c1."),
    "a result without a call": (
        {"input": [{"type": "function_call_output", "output": "7",
                    "call_id": "c1"}]}, "input", None,
        "No tool call found for function call output with call_id c1."),
    "json_object without the word": (
        {"text": {"format": {"type": "json_object"}}}, "input", None,
        "Response input messages must contain the word 'json' in some form "
        "to use 'text.format' of type 'json_object'."),
    "a strict schema that is open": (
        {"text": {"format": {"type": "json_schema", "name": "x",
         "strict": True, "schema": {**PARAMETERS,
                                    "additionalProperties": True}}}},
        "text.format.schema", "invalid_json_schema",
        "Invalid schema for response_format 'x': In context=(), "
        "'additionalProperties' is required to be supplied and to be "
        "false."),
    "an item that is not kept": (
        {"input": [{"type": "item_reference", "id": "msg_1"}]}, "input",
        None, "Item with id 'msg_1' not found."),
}  # fmt: skip


def assert_refused(answer, param, code, message):
    assert answer.status in (400, 404)
    assert answer.json["error"] == {
        "message": message,
        "type": "invalid_request_error",
        "param": param,
        "code": code,
    }


@pytest.mark.parametrize("case", CHAT)
def test_a_chat_request_is_refused(model, case):
    changes, param, code, message = CHAT[case]
    answer = send(model, "POST", "/v1/chat/completions", chat("hi") | changes)
    assert_refused(answer, param, code, message)


@pytest.mark.parametrize("case", RESPONSES)
def test_a_responses_request_is_refused(model, case):
    changes, param, code, message = RESPONSES[case]
    body = {"model": "gpt-4o", "input": "hi", **changes}
    answer = send(model, "POST", "/v1/responses", body)
    assert_refused(answer, param, code, message)


@pytest.mark.parametrize(
    ("path", "changes"),
    [
        ("chat/completions", {"functions": [{"name": "f"}]}),
        ("chat/completions", {"audio": {"voice": "ash"}}),
        ("chat/completions", {"tools": [{"type": "custom"}]}),
        ("chat/completions", {"n": 9}),
        ("responses", {"background": True}),
        ("responses", {"conversation": "conv_1"}),
        ("responses", {"tools": [{"type": "web_search"}]}),
        ("responses", {"input": [{"type": "computer_call"}]}),
    ],
)
def test_what_is_not_served_says_so(model, path, changes):
    body = chat("hi") if path != "responses" else {"model": "m", "input": "hi"}
    answer = send(model, "POST", f"/v1/{path}", body | changes)
    assert answer.status == 400
    assert "The practice model" in answer.json["error"]["message"]


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "gpt-99"},
        {"temperature": 2, "top_p": 0, "seed": 7, "n": 8, "stop": [*"wxyz"]},
        {"tools": [tool()] * 128, "parallel_tool_calls": False},
        {"tools": [tool(strict=True)], "tool_choice": "auto"},
        {"response_format": form(PARAMETERS)},
        {"logprobs": True, "top_logprobs": 2, "user": "u", "metadata": {}},
        {"stream": True, "stream_options": None},
        said({"role": "assistant", "content": None, "refusal": "No."}),
    ],
)  # fmt: skip
def test_what_openai_takes_is_taken(model, changes):
    body = chat("hi") | changes
    assert send(model, "POST", "/v1/chat/completions", body).status == 200


def test_embeddings_of_too_many_texts(model):
    body = {"model": "e", "input": ["a"] * 2049}
    answer = send(model, "POST", "/v1/embeddings", body)
    assert_refused(
        answer,
        "input",
        "array_above_max_length",
        "Invalid 'input': array too long. Expected an array with maximum "
        "length 2048, but got an array with length 2049 instead.",
    )
