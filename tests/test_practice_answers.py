"""What the practice model decides: tools, arguments, JSON and texts."""

import json
import re
from typing import Literal

import pytest
from pydantic import BaseModel

from workshop.practice import answers, tools, words
from workshop.practice.ask import Ask, Tool, Turn
from workshop.practice.schema import Filler
from workshop.practice.source import Source

TEXT = {"type": "string"}
WHOLE = {"type": "integer"}


def offer(name, description="", optional=(), **parameters):
    schema = {
        "type": "object",
        "properties": parameters,
        "required": [n for n in parameters if n not in optional],
    }
    return Tool(name, description, schema)


UNIT = {"type": "string", "enum": ["celsius", "fahrenheit"]}
WEATHER = offer(
    "get_weather", "Get the weather in a city.", ["unit"], city=TEXT, unit=UNIT
)
TIME = offer("get_time", "Get the current time in a city.", city=TEXT)
ADD = offer("add", "Adds a and b.", a=WHOLE, b=WHOLE)
MULTIPLY = offer("multiply", "Multiply two numbers.", a=WHOLE, b=WHOLE)
SUBTRACT = offer("subtract", "Subtract b from a.", a=WHOLE, b=WHOLE)
SEARCH = offer("search_web", "Search the web for information.", query=TEXT)
RESEARCH = offer("research", "Research a topic.", topic=TEXT)
ORDER = offer("take_order", "Take an order.", table=WHOLE, dish=TEXT)
DISHES = offer(
    "place_order", "", table=WHOLE, dishes={"type": "array", "items": TEXT}
)
FLIGHT = offer(
    "bookFlight",
    "Book a flight.",
    ["date"],
    origin=TEXT,
    destination=TEXT,
    date={"type": "string", "format": "date"},
)
MAIL = offer("send_email", "Send an email.", to=TEXT, subject=TEXT, body=TEXT)
LIGHT = offer(
    "set_light",
    "Turn a light on or off.",
    room={"enum": ["kitchen", "living_room"]},
    on={"type": "boolean"},
)
FORMULA = offer("calculator", "Evaluates an expression.", expression=TEXT)
TRANSLATE = offer("translate", "Translate a text.", text=TEXT, language=TEXT)
MAGIC = offer("magic", "Apply magic to an input.", input=WHOLE)
NOTHING = offer("list_tables", "List the tables.")
MANY = (WEATHER, TIME, ADD, MULTIPLY, SUBTRACT, SEARCH, MAIL, ORDER, FLIGHT)


def ask(prompt, *offered, **options):
    return Ask((Turn("user", prompt),), offered, **options)


def calls(asked):
    return [
        (call.name, json.loads(call.arguments))
        for call in tools.choose(asked, {})
    ]


def one(name, **arguments):
    return [(name, arguments)]


CHOICES = {
    "Hi there": [],
    "Tell me a joke": [],
    "What is LangGraph?": [],
    "What is the capital of France?": [],
    "My birthday is 2026-12-01": [],
    # one call
    "What's the weather in Paris?": one("get_weather", city="Paris"),
    "what's the weather in paris": one("get_weather", city="paris"),
    "How hot is it in New York today?": one("get_weather", city="New York"),
    "Weather in San Francisco, CA?": one(
        "get_weather", city="San Francisco, CA"
    ),
    "Weather in Paris? Answer in French.": one("get_weather", city="Paris"),
    "I live in Rome. Weather in Paris?": one("get_weather", city="Paris"),
    "weather in Paris. Keep it short": one("get_weather", city="Paris"),
    "Weather in Oslo in Fahrenheit": one(
        "get_weather", city="Oslo", unit="fahrenheit"
    ),
    "What is three times four?": one("multiply", a=3, b=4),
    "What is 3 times 4?": one("multiply", a=3, b=4),
    "12 * 1,000": one("multiply", a=12, b=1000),
    "add three and -4": one("add", a=3, b=-4),
    "Search the web for cats and dogs": one(
        "search_web", query="cats and dogs"
    ),
    "Look up 'async streaming'": one("search_web", query="async streaming"),
    "Table 3 orders pasta": one("take_order", table=3, dish="pasta"),
    "Book a flight from Oslo to Rome on 2026-12-01": one(
        "bookFlight", origin="Oslo", destination="Rome", date="2026-12-01"
    ),
    "I want to fly to New York from Boston": one(
        "bookFlight", origin="Boston", destination="New York"
    ),
    "Email bob@example.com about Lunch saying see you at noon": one(
        "send_email",
        to="bob@example.com",
        subject="Lunch",
        body="see you at noon",
    ),
    "Turn the kitchen light off": one("set_light", room="kitchen", on=False),
    "Turn on the light in the living room": one(
        "set_light", room="living_room", on=True
    ),
    # several calls of one tool
    "weather in Paris and in Rome": [
        *one("get_weather", city="Paris"),
        *one("get_weather", city="Rome"),
    ],
    "Is it warmer in Paris, Rome or Berlin?": [
        *one("get_weather", city="Paris"),
        *one("get_weather", city="Rome"),
        *one("get_weather", city="Berlin"),
    ],
    "Weather for:\n- Paris\n- Rome": [
        *one("get_weather", city="Paris"),
        *one("get_weather", city="Rome"),
    ],
    "multiply 3 by 4 and 5 by 6": [
        *one("multiply", a=3, b=4),
        *one("multiply", a=5, b=6),
    ],
    "Table 3 orders pasta and table 5 orders soup": [
        *one("take_order", table=3, dish="pasta"),
        *one("take_order", table=5, dish="soup"),
    ],
    # several tools
    "Weather in Paris and the time in Tokyo?": [
        *one("get_weather", city="Paris"),
        *one("get_time", city="Tokyo"),
    ],
    "weather and time in Paris": [
        *one("get_weather", city="Paris"),
        *one("get_time", city="Paris"),
    ],
    "What is 12 plus 30 and what is 6 times 7?": [
        *one("add", a=12, b=30),
        *one("multiply", a=6, b=7),
    ],
}


@pytest.mark.parametrize("prompt", CHOICES)
def test_tools_and_arguments(prompt):
    assert calls(ask(prompt, *MANY, LIGHT)) == CHOICES[prompt]


@pytest.mark.parametrize(
    ("prompt", "tool", "arguments"),
    [
        ("What is (3 + 4) * 2?", FORMULA, {"expression": "(3 + 4) * 2"}),
        (
            "Translate 'good morning' to French",
            TRANSLATE,
            {"text": "good morning", "language": "French"},
        ),
        ("subtract 3 from 10", SUBTRACT, {"a": 10, "b": 3}),
        ("What is magic(3)?", MAGIC, {"input": 3}),
        ("Which tables are there?", NOTHING, {}),
        (
            "Table 4 orders pasta, soup and wine.",
            DISHES,
            {"table": 4, "dishes": ["pasta", "soup", "wine"]},
        ),
    ],
)
def test_one_tool_on_offer(prompt, tool, arguments):
    assert calls(ask(prompt, tool)) == [(tool.name, arguments)]


def test_a_list_of_topics_is_as_many_calls():
    asked = ask("Research asyncio, LangGraph and FastAPI", RESEARCH)
    topics = [arguments["topic"] for _, arguments in calls(asked)]
    assert topics == ["asyncio", "LangGraph", "FastAPI"]


def test_a_call_that_needs_the_result_of_another_waits_for_it():
    asked = ask("add 3 and 4, then multiply the result by 2", ADD, MULTIPLY)
    first = tools.choose(asked, {})
    assert [call.name for call in first] == ["add"]
    turns = (
        *asked.turns,
        Turn("assistant", "", first),
        Turn("tool", "7", call_id=first[0].id),
    )
    assert calls(Ask(turns, asked.tools)) == one("multiply", a=7, b=2)


def test_the_prompt_can_demand_a_tool():
    assert calls(ask("Use your tools to greet me", NOTHING)) == [
        ("list_tables", {})
    ]


def test_a_question_that_follows_up_goes_to_the_same_tool():
    asked = ask("What's the weather in Paris?", TIME, WEATHER)
    made = tools.choose(asked, {})
    turns = (
        *asked.turns,
        Turn("assistant", "", made),
        Turn("tool", "Sunny.", call_id=made[0].id),
        Turn("assistant", "Sunny."),
        Turn("user", "And in Rome?"),
    )
    assert calls(Ask(turns, asked.tools)) == one("get_weather", city="Rome")


def test_a_demanded_call_prefers_a_tool_that_was_not_called_yet():
    answer = offer("FinalAnswer", "The answer.", city=TEXT)
    asked = ask("weather in Paris", WEATHER, answer, choice="required")
    first = tools.choose(asked, {})
    assert [call.name for call in first] == ["get_weather"]
    turns = (
        *asked.turns,
        Turn("assistant", "", first),
        Turn("tool", "Sunny.", call_id=first[0].id),
    )
    last = Ask(turns, asked.tools, choice="required")
    assert calls(last) == one("FinalAnswer", city="Paris")


# Schemas


class Address(BaseModel):
    city: str
    zip_code: int | None


class Person(BaseModel):
    name: str
    age: int
    vip: bool = False
    address: Address
    nickname: str | None = None


class Guests(BaseModel):
    people: list[Person]


class Tree(BaseModel):
    value: int
    children: list["Tree"]


class Route(BaseModel):
    step: Literal["news", "weather", "chat"]
    confidence: float
    needs_more: bool
    tags: list[str]


def filled(model, text):
    """What is filled in for a text, which the model must accept."""
    filler = Filler(model.model_json_schema(), Source(text), {}, "any text")
    return model.model_validate(filler.fill()[0])


def test_nested_objects_and_what_the_text_leaves_out():
    person = filled(Person, "Anna is 30 years old and lives in Paris")
    assert (person.name, person.age) == ("Anna", 30)
    assert person.address == Address(city="Paris", zip_code=None)
    assert person.nickname is None
    assert person.vip is False


def test_quoted_keys_are_no_values():
    prompt = "Give me JSON with keys 'city' and 'sky': in Oslo the sky is grey"
    said = answers.reply(ask(prompt, schema={}))
    assert json.loads("".join(said.tokens)) == {"city": "Oslo", "sky": "grey"}


def test_lists_of_objects():
    text = "Anna, 30, lives in Paris.\nBob, 41, lives in Rome."
    people = filled(Guests, text).people
    assert [(p.name, p.age, p.address.city) for p in people] == [
        ("Anna", 30, "Paris"),
        ("Bob", 41, "Rome"),
    ]


def test_a_schema_that_contains_itself_comes_to_an_end():
    assert filled(Tree, "a tree of value 3").value == 3


def test_choices_and_values_that_nobody_said():
    route = filled(Route, "Will it rain tomorrow?")
    assert route.step == "weather"
    assert route.needs_more is False  # a loop that waits for it ends


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        ({"type": "integer"}, "table 7", 7),
        ({"type": "number"}, "about 2.5 km", 2.5),
        ({"type": "number", "minimum": 4, "maximum": 9}, "", 9),
        ({"type": ["string", "null"]}, "", None),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "8", 8),
        ({"const": "fixed"}, "", "fixed"),
        ({"type": "string", "default": "given"}, "", "given"),
        ({"type": "string", "format": "email"}, "to a@b.org.", "a@b.org"),
        ({"type": "string", "format": "date"}, "on 2026-11-22", "2026-11-22"),
        ({"type": "string", "maxLength": 3}, "", "any"),
        ({"type": "array", "items": {"type": "integer"}}, "3, 4", [3, 4]),
        ({"type": "array", "items": UNIT}, "in Celsius", ["celsius"]),
        ({"type": "object"}, "size=large, cheese: extra",
         {"size": "large", "cheese": "extra"}),
        ({"allOf": [{"type": "integer"}]}, "9", 9),
        (True, "anything", "any text"),
    ],
)  # fmt: skip
def test_parts_of_schemas(schema, text, value):
    whole = {
        "type": "object",
        "properties": {"value": schema},
        "required": ["value"],
    }
    filler = Filler(whole, Source(text), {}, "any text")
    assert filler.fill()[0] == {"value": value}


# Texts


def say(prompt, *before):
    turns = (*before, Turn("user", prompt))
    return "".join(answers.reply(Ask(turns)).tokens)


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("Reply with exactly: Table 5 is ready.", "Table 5 is ready."),
        ("Say hello", "hello"),
        ("count to 5", "1 2 3 4 5"),
        ("What is the capital of France?", "The capital of France is Paris."),
        ("What is my name?", "You have not told me your name yet."),
    ],
)
def test_texts(prompt, text):
    assert say(prompt) == text


@pytest.mark.parametrize("number", [1, 5, 200])
def test_as_many_words_as_the_prompt_wants(number):
    assert len(say(f"Tell me about async in {number} words").split()) == number


def test_the_conversation_is_remembered():
    before = (
        Turn("system", "You are a waiter."),
        Turn("user", "Hello, my name is Anna."),
        Turn("assistant", "Welcome!"),
    )
    assert say("What is my name?", *before) == "Your name is Anna."
    assert "my name is Anna" in say("What did I say first?", *before)


def test_other_prompts_are_quoted():
    assert "practice model" in say("Why is the sky blue?")
    assert "Why is the sky blue?" in say("Why is the sky blue?")


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ("It is sunny in Paris", "It is sunny in Paris."),
        ("12", "The result of get weather is 12."),
        ('{"sky": "clear", "degrees": 21}',
         "The result of get weather is sky clear, degrees 21."),
        ("Error: no such city", "The tool get weather failed: "
         "Error: no such city"),
        ("", "The tool get weather is done."),
    ],
)  # fmt: skip
def test_results_are_read_out(result, text):
    asked = ask("What's the weather in Paris?", WEATHER)
    made = tools.choose(asked, {})
    turns = (
        *asked.turns,
        Turn("assistant", "", made),
        Turn("tool", result, call_id=made[0].id),
    )
    reply = answers.reply(Ask(turns, asked.tools))
    assert "".join(reply.tokens) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "two  spaces\n\nand 3.5 ",
        'it\'s {"a": "b c"}',
        "你好 😀!?",
        "\x00",
        "a  b, " * 40_000,
        "no-gap" * 20_000,
    ],
)
def test_tokens_joined_are_the_text(text):
    assert "".join(words.tokens(text)) == text
    assert len(words.tokens(text)) == words.count(text)


def test_entries_of_the_answers_file():
    entries = answers._FILE["answer"]
    assert len(entries) >= 40
    for entry in entries:
        groups = re.compile(entry["ask"]).groupindex
        said = entry["say"].format(**dict.fromkeys(groups, "word"))
        assert said.strip()
        assert words.count(said) <= 60
