"""Every way in which an answer can end, and what real clients make of it."""

import json

import openai
import pytest
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from practice_client import chat, fast_model, send
from test_practice_server import COUNT, alone, client, counts, meter
from test_practice_wire import (
    CITIES,
    FLAT_TOOLS,
    TOOLS,
    chunks,
    completion,
    response,
    response_events,
)


@pytest.fixture
def model():
    return fast_model()


def texts(events):
    parts = [event.choices[0].delta for event in events if event.choices]
    return "".join(part.content or "" for part in parts)


def deltas(events, kind):
    return "".join(e.delta for e in events if e.type == f"response.{kind}")


# It ends early


@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_a_text_ends_early(model, finish):
    model.fault(finish, after_tokens=3, times=2)
    whole = completion(model, COUNT).choices[0]
    streamed = chunks(model, COUNT)
    assert (whole.message.content, whole.finish_reason) == ("1 2 3", finish)
    assert texts(streamed) == "1 2 3"
    assert streamed[-1].choices[0].finish_reason == finish
    assert meter(model) == counts(2, 1, 6)


@pytest.mark.parametrize(
    ("finish", "reason"),
    [("length", "max_output_tokens"), ("content_filter", "content_filter")],
)
def test_a_response_ends_early(model, finish, reason):
    model.fault(finish, after_tokens=3, times=2)
    whole = response(model, input=COUNT)
    last = response_events(model, input=COUNT)[-1]
    assert last.type == "response.incomplete"
    for answer in (whole, last.response):
        assert answer.output_text == "1 2 3"
        assert answer.status == "incomplete"
        assert answer.incomplete_details.reason == reason


def test_half_the_answer_is_left_if_nothing_else_is_said(model):
    model.fault("length")
    assert completion(model, COUNT).choices[0].message.content == "1 2 3 4 5 6"


def test_an_answer_may_be_over_before_its_first_word(model):
    model.fault("length", after_tokens=0)
    choice = completion(model, COUNT).choices[0]
    assert (choice.message.content, choice.finish_reason) == ("", "length")


@pytest.mark.parametrize("how", ["fault", "limit"])
@pytest.mark.parametrize("tokens", [1, 4, 8])
def test_arguments_are_cut_off_in_the_middle(model, how, tokens):
    whole = completion(model, CITIES, tools=TOOLS).choices[0].message
    said = "".join(c.function.arguments for c in whole.tool_calls)
    limit = {} if how == "fault" else {"max_completion_tokens": tokens}
    if how == "fault":
        model.fault("length", after_tokens=tokens, times=2)
    answer = completion(model, CITIES, tools=TOOLS, **limit)
    choice = answer.choices[0]
    assert choice.finish_reason == "length"
    assert answer.usage.completion_tokens == tokens
    last = choice.message.tool_calls[-1].function.arguments
    with pytest.raises(ValueError):
        json.loads(last)
    cut = "".join(c.function.arguments for c in choice.message.tool_calls)
    assert said.startswith(cut) and cut != said
    *_, end = events = chunks(model, CITIES, tools=TOOLS, **limit)
    assert end.choices[0].finish_reason == "length"
    calls = [e.choices[0].delta.tool_calls for e in events]
    pieces = [c.function.arguments for part in calls for c in part or ()]
    assert "".join(pieces) == cut


def test_arguments_are_cut_off_in_a_response(model):
    model.fault("length", after_tokens=3)
    answer = response(model, input=CITIES, tools=FLAT_TOOLS)
    (call,) = answer.output
    assert (answer.status, call.status) == ("incomplete", "incomplete")
    with pytest.raises(ValueError):
        json.loads(call.arguments)


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        ({"max_completion_tokens": None, "max_tokens": 4}, "1 2 3 4"),
        ({"max_tokens": None}, None),
    ],
)
def test_a_limit_that_is_null_is_none(model, limits, text):
    answer = completion(model, COUNT, **limits).choices[0].message.content
    assert answer == (text or " ".join(map(str, range(1, 13))))


@pytest.mark.parametrize("limit", [0, -3])
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_limit_below_one_is_refused(model, name, limit):
    body = chat(COUNT, **{name: limit})
    answer = send(model, "POST", "/v1/chat/completions", body)
    assert answer.status == 400
    assert answer.json["error"] == {
        "message": f"Invalid '{name}': integer below minimum value. "
        f"Expected a value >= 1, but got {limit} instead.",
        "type": "invalid_request_error",
        "param": name,
        "code": "integer_below_min_value",
    }


# It is not what was asked for


def test_a_refusal(model):
    model.fault("refusal", times=4)
    message = completion(model, COUNT).choices[0].message
    assert message.refusal and message.content is None
    parts = [e.choices[0].delta.refusal or "" for e in chunks(model, COUNT)]
    assert "".join(parts) == message.refusal
    (part,) = response(model, input=COUNT).output[0].content
    assert (part.type, part.refusal) == ("refusal", message.refusal)
    events = response_events(model, input=COUNT)
    assert deltas(events, "refusal.delta") == message.refusal


def test_a_tool_that_nobody_offers(model):
    model.fault("unknown_tool", times=3)
    for prompt in (CITIES, "Hi"):
        calls = completion(model, prompt, tools=TOOLS).choices[0].message
        assert calls.tool_calls[0].function.name != "get_weather"
    call = response(model, input=CITIES, tools=FLAT_TOOLS).output[0]
    assert call.name != "get_weather"


def test_a_name_that_is_streamed_twice(model):
    @tool
    def get_weather(city: str) -> str:
        """Get the weather in a city."""
        return f"Sunny in {city}."

    model.fault("doubled_name")
    llm = chat_openai(model).bind_tools([get_weather])
    whole = None
    for chunk in llm.stream("What is the weather in Paris?"):
        whole = chunk if whole is None else whole + chunk
    (call,) = whole.tool_calls
    assert call["name"] == "get_weatherget_weather"
    assert call["args"] == {"city": "Paris"}


# It breaks on its way


def chat_openai(model, **options):
    return ChatOpenAI(
        model="gpt-4o",
        base_url=model.base_url,
        api_key=model.key,
        max_retries=0,
        http_client=openai.DefaultHttpxClient(verify=False),
        **options,
    )


@pytest.mark.parametrize("after", [0, 3, 12])
def test_an_error_inside_a_stream(model, after):
    model.fault("error_event", after_tokens=after, times=2)
    answer = send(
        model, "POST", "/v1/chat/completions", chat(COUNT, stream=True)
    )
    assert answer.status == 200
    assert answer.events[-1]["error"]["type"] == "server_error"
    got = []
    with client(model) as openai_client, pytest.raises(openai.APIError):
        for chunk in openai_client.chat.completions.create(
            **chat(COUNT, stream=True)
        ):
            got.append(chunk.choices[0].delta.content)
    assert [text for text in got if text] == [
        f" {n}"[n == 1 :] for n in range(1, after + 1)
    ]


def test_an_error_in_a_stream_of_a_response(model):
    model.fault("error_event", after_tokens=3, times=2)
    events = response_events(model, input=COUNT)
    assert [event.sequence_number for event in events] == [*range(len(events))]
    assert [event.type for event in events[-2:]] == [
        "error",
        "response.failed",
    ]
    llm = chat_openai(model, use_responses_api=True)
    with pytest.raises(ValueError, match="server_error"):
        list(llm.stream(COUNT))


def test_an_error_in_an_answer_that_is_not_streamed(model):
    model.fault("error_event", times=2)
    with pytest.raises(ValueError, match="server_error"):
        chat_openai(model).invoke(COUNT)
    answer = response(model, input=COUNT)
    assert answer.status == "failed"
    assert answer.error.code == "server_error"


def test_a_stream_without_its_end(model):
    model.fault("no_done", after_tokens=3, times=2)
    body = chat(COUNT, stream=True)
    answer = send(model, "POST", "/v1/chat/completions", body)
    assert b"[DONE]" not in answer.body
    assert all(e["choices"][0]["finish_reason"] is None for e in answer.events)
    said = chat_openai(model).stream(COUNT)
    assert "".join(chunk.text for chunk in said) == "1 2 3"  # no error


def test_a_stream_of_a_response_without_its_end(model):
    model.fault("no_done", after_tokens=3)
    events = response_events(model, input=COUNT)
    assert events[-1].type == "response.output_text.delta"


# It is late


@pytest.mark.parametrize("stream", [True, False])
def test_reasoning_takes_its_time_before_the_first_word(model, stream):
    model.fault("reasoning", seconds=0.3)
    body = chat(COUNT, stream=stream)
    answer = send(model, "POST", "/v1/chat/completions", body)
    if stream:
        parts = [event["choices"][0]["delta"] for event in answer.events]
        kinds = [
            kind
            for part in parts
            for kind in ("reasoning_content", "content")
            if part.get(kind)
        ]
        assert kinds == sorted(kinds, reverse=True)
        assert set(kinds) == {"reasoning_content", "content"}
    else:
        message = answer.json["choices"][0]["message"]
        assert message["reasoning_content"]
        assert message["content"].startswith("1 2")
        usage = answer.json["usage"]
        thought = usage["completion_tokens_details"]["reasoning_tokens"]
        assert usage["completion_tokens"] == 12 + thought
        assert meter(model)["tokens_sent"] == 12 + thought


def test_reasoning_is_spread_over_its_seconds():
    from workshop.practice.sessions import Pace

    pace = Pace(ttft=1.0, per_token=0.5)
    due = pace.schedule(4, "any", thoughts=2, thinking=10.0)
    assert due == [1.0, 6.0, 11.0, 11.5, 12.0]
    assert pace.schedule(4, "any", thoughts=2) == pace.schedule(4, "any")


def test_reasoning_in_a_response(model):
    model.fault("reasoning", times=2)
    item = response(model, input=COUNT).output[0]
    events = response_events(model, input=COUNT)
    assert item.type == "reasoning"
    thought = deltas(events, "reasoning_summary_text.delta")
    assert thought == item.summary[0].text
    back = [{"role": "user", "content": "hi"}, item.to_dict()]
    assert response(model, input=back).status == "completed"


# It does not fit


def test_a_prompt_that_is_too_long(model):
    model.pace(context_tokens=10)
    with client(model) as openai_client:
        with pytest.raises(openai.BadRequestError) as caught:
            openai_client.chat.completions.create(**chat("one two " * 6))
        assert caught.value.body == {
            "message": "This model's maximum context length is 10 tokens. "
            "However, your messages resulted in 13 tokens. Please reduce "
            "the length of the messages.",
            "type": "invalid_request_error",
            "param": "messages",
            "code": "context_length_exceeded",
        }
        with pytest.raises(openai.BadRequestError) as caught:
            openai_client.responses.create(model="m", input="one two " * 6)
        assert caught.value.code == "context_length_exceeded"
        openai_client.chat.completions.create(**chat("short"))


# The other ways to ask for one


def test_faults_of_the_command_line_and_of_a_header(model):
    with alone(
        "--fault=length;after_tokens=2;times=2",
        "--fault=refusal",
        "--ttft=0",
        "--per-token=0",
        "--context-tokens=50",
    ) as server:
        path, body = "/v1/chat/completions", chat(COUNT)
        got = []
        for key in "abcd":
            answer = send(server, "POST", path, body, token=key).json
            choice = answer["choices"][0]
            message = choice["message"]
            got.append((choice["finish_reason"], bool(message["refusal"])))
        assert got == [
            ("length", False),
            ("length", False),
            ("stop", True),
            ("stop", False),
        ]
        long = send(server, "POST", path, chat("word " * 60))
        assert long.json["error"]["code"] == "context_length_exceeded"
    header = {"x-practice-fault": "content_filter;after_tokens=1"}
    answer = send(model, "POST", path, body, header).json
    assert answer["choices"][0]["finish_reason"] == "content_filter"
