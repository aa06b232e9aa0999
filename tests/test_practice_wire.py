"""The wire formats, judged by OpenAI's own types and clients.

The types are validated strictly: a field that they need and the server does
not send is an error, and so is one that they do not know. A new release of
the client that changes a format fails here.
"""

import asyncio
import functools
import json
from itertools import pairwise

import openai
import pydantic
import pytest
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openai.types import CreateEmbeddingResponse, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from practice_client import chat, fast_model, send

TEXT = "What is LangGraph?"
CITIES = "What is the weather in Paris and in Rome?"
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
FUNCTION = {"name": "get_weather", "parameters": PARAMETERS}
TOOLS = [{"type": "function", "function": FUNCTION}]
FLAT_TOOLS = [{"type": "function", "strict": False, **FUNCTION}]
JOKE = {
    "type": "object",
    "properties": {"setup": {"type": "string"}, "mark": {"type": "integer"}},
    "required": ["setup", "mark"],
    "additionalProperties": False,
}


@pytest.fixture
def model():
    return fast_model()


def unknown_fields(value, path=""):
    """The fields that OpenAI's types do not know, by their path."""
    if isinstance(value, pydantic.BaseModel):
        for name in value.model_extra or {}:
            yield f"{path}.{name}"
        for name, part in value:
            yield from unknown_fields(part, f"{path}.{name}")
    elif isinstance(value, list):
        for part in value:
            yield from unknown_fields(part, f"{path}[]")


adapter = functools.cache(pydantic.TypeAdapter)  # slow to build


def strict(kind, data):
    value = adapter(kind).validate_python(data)
    assert not list(unknown_fields(value))
    return value


def clients(model):
    options = {"base_url": model.base_url, "api_key": model.key}
    return (
        openai.OpenAI(
            http_client=openai.DefaultHttpxClient(verify=False), **options
        ),
        openai.AsyncOpenAI(
            http_client=openai.DefaultAsyncHttpxClient(verify=False),
            **options,
        ),
    )


def completion(model, prompt, **more):
    body = chat(prompt, **more)
    answer = send(model, "POST", "/v1/chat/completions", body)
    assert answer.headers["content-type"] == "application/json"
    return strict(ChatCompletion, answer.json)


def chunks(model, prompt, **more):
    body = chat(prompt, stream=True, **more)
    answer = send(model, "POST", "/v1/chat/completions", body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.body.endswith(b"\n\ndata: [DONE]\n\n")
    return [strict(ChatCompletionChunk, event) for event in answer.events]


# Chat completions


def test_chat(model):
    answer = completion(model, TEXT)
    message = answer.choices[0].message
    assert message.content.startswith("LangGraph")
    assert message.tool_calls is None
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "gpt-4o"
    assert answer.usage.total_tokens == (
        answer.usage.prompt_tokens + answer.usage.completion_tokens
    )


def test_chat_streamed_says_the_same_token_by_token(model):
    whole = completion(model, TEXT)
    first, *middle, last = chunks(model, TEXT)
    assert first.choices[0].delta.role == "assistant"
    assert first.choices[0].delta.content == ""
    texts = [chunk.choices[0].delta.content for chunk in middle]
    assert "".join(texts) == whole.choices[0].message.content
    assert len(texts) == whole.usage.completion_tokens
    assert last.choices[0].finish_reason == "stop"
    assert {chunk.id for chunk in middle} == {first.id} == {last.id}


def test_usage_is_streamed_only_on_demand(model):
    assert all(chunk.usage is None for chunk in chunks(model, TEXT))
    options = {"include_usage": True}
    *before, last = chunks(model, TEXT, stream_options=options)
    assert all(chunk.usage is None and chunk.choices for chunk in before)
    assert last.choices == []
    assert last.usage == completion(model, TEXT).usage


def test_the_same_ask_has_the_same_answer(model):
    first = completion(model, CITIES, tools=TOOLS)
    again = completion(model, CITIES, tools=TOOLS)
    assert first.choices == again.choices
    assert first.id == again.id


def test_calls(model):
    answer = completion(model, CITIES, tools=TOOLS)
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    calls = choice.message.tool_calls
    assert [json.loads(call.function.arguments) for call in calls] == [
        {"city": "Paris"},
        {"city": "Rome"},
    ]
    assert len({call.id for call in calls}) == 2


def test_calls_streamed_arrive_in_pieces(model):
    whole = completion(model, CITIES, tools=TOOLS).choices[0].message
    first, *middle, last = chunks(model, CITIES, tools=TOOLS)
    assert first.choices[0].delta.content is None
    assert last.choices[0].finish_reason == "tool_calls"
    deltas = [chunk.choices[0].delta.tool_calls[0] for chunk in middle]
    assert all(one.index <= two.index for one, two in pairwise(deltas))
    for index, call in enumerate(whole.tool_calls):
        head, *pieces = [d for d in deltas if d.index == index]
        assert (head.id, head.function.name) == (call.id, "get_weather")
        assert head.function.arguments == ""
        assert all(d.id is None for d in pieces)
        assert len(pieces) > 2
        text = "".join(d.function.arguments for d in pieces)
        assert text == call.function.arguments


@pytest.mark.parametrize("stream", [True, False])
def test_arguments_count_as_tokens(model, stream):
    usage = completion(model, CITIES, tools=TOOLS).usage
    send(model, "POST", "/meter/reset")
    body = chat(CITIES, tools=TOOLS, stream=stream)
    send(model, "POST", "/v1/chat/completions", body)
    sent = send(model, "GET", "/meter").json["tokens_sent"]
    assert sent == usage.completion_tokens > 4


def test_tool_choice_and_parallel_calls(model):
    def calls(prompt, **more):
        message = completion(model, prompt, tools=TOOLS, **more).choices[0]
        return len(message.message.tool_calls or [])

    named = {"type": "function", "function": {"name": "get_weather"}}
    assert calls("Hi") == 0
    assert calls("Hi", tool_choice="required") == 1
    assert calls("Hi", tool_choice=named) == 1
    assert calls(CITIES, tool_choice="none") == 0
    assert calls(CITIES, parallel_tool_calls=False) == 1
    unknown = {"type": "function", "function": {"name": "fly"}}
    body = chat("Hi", tools=TOOLS, tool_choice=unknown)
    assert send(model, "POST", "/v1/chat/completions", body).status == 400


def test_calls_one_at_a_time_until_all_are_made(model):
    messages = [{"role": "user", "content": CITIES}]
    asked = []
    with clients(model)[0] as client:
        while True:
            message = (
                client.chat.completions.create(
                    model="gpt-4o",
                    messages=messages,
                    tools=TOOLS,
                    parallel_tool_calls=False,
                )
                .choices[0]
                .message
            )
            messages.append(message.to_dict())
            if not message.tool_calls:
                break
            (call,) = message.tool_calls
            city = json.loads(call.function.arguments)["city"]
            asked.append(city)
            result = f"It is sunny in {city}."
            messages.append(
                {"role": "tool", "tool_call_id": call.id, "content": result}
            )
    assert asked == ["Paris", "Rome"]
    assert message.content == "It is sunny in Paris. It is sunny in Rome."


@pytest.mark.parametrize("stream", [True, False])
def test_json_schema_is_obeyed(model, stream):
    named = {"name": "Joke", "schema": JOKE, "strict": True}
    form = {"type": "json_schema", "json_schema": named}
    if stream:
        deltas = chunks(model, "A joke, mark 3", response_format=form)
        parts = [chunk.choices[0].delta.content or "" for chunk in deltas]
        text = "".join(parts)
    else:
        answer = completion(model, "A joke, mark 3", response_format=form)
        text = answer.choices[0].message.content
    value = json.loads(text)
    assert set(value) == {"setup", "mark"}
    assert value["mark"] == 3


def test_json_object(model):
    answer = completion(
        model, "Reply in JSON", response_format={"type": "json_object"}
    )
    assert isinstance(json.loads(answer.choices[0].message.content), dict)


def test_limit_and_stop(model):
    answer = completion(model, "count to 9", max_completion_tokens=4)
    assert answer.choices[0].message.content == "1 2 3 4"
    assert answer.choices[0].finish_reason == "length"
    answer = completion(model, "count to 9", stop=[" 5"])
    assert answer.choices[0].message.content == "1 2 3 4"
    assert answer.choices[0].finish_reason == "stop"


def test_content_blocks(model):
    text = {"type": "text", "text": "Reply with exactly: yes"}
    picture = {"type": "image_url", "image_url": {"url": "data:,"}}
    assert completion(model, [text]).choices[0].message.content == "yes"
    seen = completion(model, [picture]).choices[0].message.content
    assert "picture" in seen


# Responses


def response(model, **body):
    body = {"model": "gpt-4o", **body}
    answer = send(model, "POST", "/v1/responses", body)
    assert answer.status == 200
    return strict(Response, answer.json)


def response_events(model, **body):
    body = {"model": "gpt-4o", "stream": True, **body}
    answer = send(model, "POST", "/v1/responses", body)
    for event in answer.body.decode().split("\n\n"):
        name, _, data = event.partition("\n")
        kind = data and json.loads(data.removeprefix("data: "))["type"]
        assert name == (f"event: {kind}" if data else "")
    return [strict(ResponseStreamEvent, event) for event in answer.events]


def test_response(model):
    answer = response(model, input=TEXT, instructions="Be brief.")
    assert answer.output_text.startswith("LangGraph")
    assert answer.status == "completed"
    assert answer.usage.output_tokens == len(response_deltas(model, TEXT))
    again = response(model, input=TEXT, instructions="Be brief.")
    # LangChain takes two messages with one id for the same message.
    assert again.output[0].id != answer.output[0].id


def response_deltas(model, text):
    events = response_events(model, input=text)
    assert [event.sequence_number for event in events] == [*range(len(events))]
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    deltas = [e.delta for e in events if e.type.endswith("text.delta")]
    assert "".join(deltas) == events[-1].response.output_text
    return deltas


def test_response_with_calls_and_their_results(model):
    answer = response(model, input=CITIES, tools=FLAT_TOOLS)
    cities = [json.loads(call.arguments)["city"] for call in answer.output]
    assert cities == ["Paris", "Rome"]
    items = [{"role": "user", "content": CITIES}]
    items += [call.to_dict() for call in answer.output]
    items += [
        {
            "type": "function_call_output",
            "call_id": call.call_id,
            "output": f"Rain in {city}.",
        }
        for call, city in zip(answer.output, cities, strict=True)
    ]
    answer = response(model, input=items, tools=FLAT_TOOLS)
    assert answer.output_text == "Rain in Paris. Rain in Rome."


def test_response_calls_streamed_arrive_in_pieces(model):
    events = response_events(model, input=CITIES, tools=FLAT_TOOLS)
    done = events[-1].response.output
    for index, call in enumerate(done):
        pieces = [
            event.delta
            for event in events
            if event.type == "response.function_call_arguments.delta"
            and event.output_index == index
        ]
        assert len(pieces) > 2
        assert "".join(pieces) == call.arguments
    assert len(done) == 2


def test_response_cut_short(model):
    limited = {"input": "count to 20", "max_output_tokens": 16}
    answer = response(model, **limited)
    assert answer.output_text.endswith(" 16")
    assert answer.status == "incomplete"
    assert answer.incomplete_details.reason == "max_output_tokens"
    events = response_events(model, **limited)
    assert events[-1].type == "response.incomplete"


def test_response_in_json(model):
    form = {"type": "json_schema", "name": "Joke", "schema": JOKE}
    answer = response(model, input="mark 3", text={"format": form})
    assert json.loads(answer.output_text)["mark"] == 3


def test_a_response_goes_on_from_an_earlier_one(model):
    first = response(model, input="My name is Ada.")
    options = {"input": "What is my name?", "previous_response_id": first.id}
    second = response(model, **options)
    assert second.output_text == "Your name is Ada."
    assert second.previous_response_id == first.id
    third = response(model, **options | {"previous_response_id": second.id})
    assert third.output_text == "Your name is Ada."


def test_calls_are_answered_by_reference(model):
    first = response(model, input=CITIES, tools=FLAT_TOOLS)
    results = [
        {
            "type": "function_call_output",
            "call_id": call.call_id,
            "output": "Rain.",
        }
        for call in first.output
    ]
    gone_on = response(
        model,
        input=results,
        tools=FLAT_TOOLS,
        previous_response_id=first.id,
    )
    said = [{"role": "user", "content": CITIES}]
    named = [{"type": "item_reference", "id": c.id} for c in first.output]
    by_item = response(model, input=said + named + results, tools=FLAT_TOOLS)
    assert gone_on.output_text == by_item.output_text
    assert "Rain" in gone_on.output_text


@pytest.mark.parametrize("kept", [True, False])
def test_a_response_is_kept_for_its_session_only(model, kept):
    first = response(model, input="hi", store=kept)
    other = fast_model() if kept else model
    body = {
        "model": "gpt-4o",
        "input": "hi",
        "previous_response_id": first.id,
    }
    answer = send(other, "POST", "/v1/responses", body)
    assert answer.status == 400
    assert answer.json["error"]["code"] == "previous_response_not_found"


# Embeddings and models


def test_embeddings(model):
    texts = ["red wine", "a glass of red wine", "event loop", "?"]
    body = {"model": "text-embedding-3-small", "input": texts}
    answer = send(model, "POST", "/v1/embeddings", body).json
    vectors = [
        item.embedding for item in strict(CreateEmbeddingResponse, answer).data
    ]
    assert {len(vector) for vector in vectors} == {1536}

    def likeness(one, two):
        return sum(a * b for a, b in zip(one, two, strict=True))

    wine, glass, loop, empty = vectors
    assert likeness(empty, empty) == pytest.approx(1)
    assert likeness(wine, glass) > 0.5 > likeness(wine, loop)


def test_embeddings_in_base64_are_the_same(model):
    with clients(model)[0] as client:
        options = {"model": "e", "input": "red wine", "dimensions": 8}
        plain = client.embeddings.create(encoding_format="float", **options)
        packed = client.embeddings.create(**options)  # base64 on the wire
    one, two = plain.data[0].embedding, packed.data[0].embedding
    assert len(one) == 8
    assert two == pytest.approx(one)


@pytest.mark.parametrize(
    ("given", "count"), [("hi", 1), (["a", "b"], 2), ([1, 2], 1), ([[1]], 1)]
)
def test_embeddings_of_texts_and_of_token_numbers(model, given, count):
    body = {"model": "e", "input": given}
    answer = send(model, "POST", "/v1/embeddings", body).json
    assert len(answer["data"]) == count


def test_models(model):
    listed = send(model, "GET", "/v1/models").json
    assert listed["object"] == "list"
    for item in listed["data"]:
        one = send(model, "GET", f"/v1/models/{item['id']}").json
        assert strict(Model, one) == strict(Model, item)


# The clients themselves


async def test_openai_clients_sync_and_async(model):
    client, async_client = clients(model)
    with client:
        body = chat(TEXT, stream=True)
        stream = client.chat.completions.create(**body)
        said = "".join(c.choices[0].delta.content or "" for c in stream)
        events = client.responses.create(
            model="gpt-4o", input=TEXT, stream=True
        )
        deltas = [e.delta for e in events if e.type.endswith("text.delta")]
        assert "".join(deltas) == said
        assert client.models.list().data[0].id == "gpt-4o"
    async with async_client:
        stream = await async_client.chat.completions.create(**body)
        parts = [c.choices[0].delta.content async for c in stream]
        assert "".join(filter(None, parts)) == said
        answer = await async_client.responses.create(
            model="gpt-4o", input=TEXT
        )
        assert answer.output_text == said


@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_chat_openai(model, api):
    @tool
    def get_weather(city: str) -> str:
        """Get the weather in a city."""
        return f"Sunny in {city}."

    llm = ChatOpenAI(
        model="gpt-4o",
        base_url=model.base_url,
        api_key=model.key,
        stream_usage=True,
        use_responses_api=api == "responses",
        http_async_client=openai.DefaultAsyncHttpxClient(verify=False),
    ).bind_tools([get_weather])
    whole = await llm.ainvoke(CITIES)
    streamed = None
    async for chunk in llm.astream(CITIES):
        streamed = chunk if streamed is None else streamed + chunk
    assert [c["args"] for c in whole.tool_calls] == [
        {"city": "Paris"},
        {"city": "Rome"},
    ]
    assert streamed.tool_calls == whole.tool_calls
    assert streamed.usage_metadata == whole.usage_metadata
    results = [get_weather.invoke(call) for call in whole.tool_calls]
    said = await llm.ainvoke([("user", CITIES), whole, *results])
    assert said.text == "Sunny in Paris. Sunny in Rome."


async def test_ten_at_once(model):
    async with clients(model)[1] as client:
        answers = await asyncio.gather(
            *(
                client.chat.completions.create(**chat(f"count to {n}"))
                for n in range(1, 11)
            )
        )
    for number, answer in enumerate(answers, start=1):
        assert answer.usage.completion_tokens == number
