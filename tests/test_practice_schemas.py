"""The schema decides: structured answers and arguments follow it.

``PRACTICE_SCHEMAS=2000`` tries so many generated schemas instead of 200.
"""

import json
import os
import random
from enum import Enum

import jsonschema_rs
import pytest
from practice_client import chat, fast_model, send
from pydantic import BaseModel

from workshop.practice import answers, tools
from workshop.practice.ask import Ask, Tool, Turn

COUNT = int(os.environ.get("PRACTICE_SCHEMAS", "200"))
NAMES = (
    *("answer", "result", "content", "grade", "summary", "steps", "tasks"),
    *("topics", "tags", "name", "city", "date", "time", "email", "url"),
    *("count", "price", "score", "is_valid", "needs_more", "status", "next"),
    *("title", "user", "items", "address", "id", "reason", "feedback"),
)
FORMATS = (
    *("date-time", "time", "date", "duration", "email", "hostname"),
    *("ipv4", "ipv6", "uuid"),
)
PATTERNS = [
    r"^[A-Z]{3}-\d{4}$",
    r"^\+?\d{6,12}$",
    r"^[a-z0-9-]+$",
    r"^(red|green|blue)$",
    r"^[\w.]+@[a-z]+\.(org|com)$",
    r"^#[0-9a-fA-F]{6}$",
    r"^\S+$",
    r"^(?:\d{4}-\d{2}|now)$",
    r"^[A-Z][a-z]*( [A-Z][a-z]*)*$",
    r"^v\d+\.\d+\.\d+(-[a-z]+)?$",
    r"\d{3}",
    r"^([01]\d|2[0-3]):[0-5]\d$",
    r"^\$\d+(\.\d{2})?$",
    r"^.{5,8}$",
    r"[aeiou]$",
]
PROMPTS = [
    "",
    "Jason is 25 years old and lives in Rome.",
    "Order 3 pizzas and 2.5 litres of wine for table 7, -4 degrees.",
    "Meet Ada at 7 pm tomorrow, mail ada@example.org, see https://x.org/a",
    "Classify: this joke is not funny at all. Yes or no?",
    "Tasks: wash, cook, serve. Steps: one, two, three, four, five.",
]


def closed(**properties):
    every = {"properties": properties, "required": [*properties]}
    return {"type": "object", **every, "additionalProperties": False}


class Schemas:
    """Schemas with what OpenAI documents, strict or not."""

    def __init__(self, seed):
        self.draw = random.Random(seed)

    def root(self):
        schema = self.object(0)
        schema["$defs"] = {
            "Node": {
                "type": "object",
                "properties": {
                    "value": self.leaf(),
                    "next": {"anyOf": [{"$ref": "#/$defs/Node"}, self.null()]},
                    "more": {
                        "type": "array",
                        "items": {"$ref": "#/$defs/Node"},
                    },
                },
                "required": ["value", "next", "more"],
                "additionalProperties": False,
            },
            "Leaf": self.leaf(),
            "A": closed(b={"anyOf": [{"$ref": "#/$defs/B"}, self.null()]}),
            "B": closed(
                a={
                    "type": "array",
                    "items": {"$ref": "#/$defs/A"},
                    "maxItems": 3,
                },
                n={"$ref": "#/$defs/Leaf"},
            ),
        }
        return schema

    def union(self, depth):
        """One of several objects, which a constant tells apart."""
        variants = []
        for tag in ("cat", "dog"):
            variant = self.object(depth + 1)
            kind = {"type": "string", "const": tag}
            variants.append(closed(kind=kind, **variant["properties"]))
        return {self.draw.choice(["anyOf", "oneOf"]): variants}

    def tuple(self, depth):
        parts = [self.any(depth + 1), self.any(depth + 1)]
        more = self.draw.choice([{"items": False}, {"maxItems": 2}])
        return {"type": "array", "prefixItems": parts, "minItems": 2, **more}

    def map(self):
        least = self.draw.choice([{}, {"minProperties": 2}])
        return {"type": "object", "additionalProperties": self.leaf(), **least}

    def null(self):
        return {"type": "null"}

    def object(self, depth):
        names = self.draw.sample(NAMES, self.draw.randint(1, 4))
        return {
            "type": "object",
            "properties": {name: self.any(depth + 1) for name in names},
            "required": names,
            "additionalProperties": False,
        }

    def any(self, depth):
        kinds = [self.leaf] * 8
        kinds += [self.map, lambda: {"$ref": "#/$defs/A"}]
        kinds += [lambda: {"$ref": "#/$defs/Node"}]
        kinds += [lambda: {"$ref": "#/$defs/Leaf"}]
        if depth < 5:
            kinds += [
                lambda: self.union(depth),
                lambda: self.tuple(depth),
                lambda: {"allOf": [self.object(depth)]},
                lambda: self.object(depth),
                lambda: self.object(depth),
                lambda: self.array(depth),
                lambda: {"anyOf": [self.any(depth + 1), self.null()]},
                lambda: {"anyOf": [self.any(depth + 1), self.object(depth)]},
            ]
        return self.draw.choice(kinds)()

    def array(self, depth):
        least = self.draw.randint(0, 4)
        most = least + self.draw.randint(0, 3)
        limits = {"minItems": least, "maxItems": most}
        kept = self.draw.sample([*limits], self.draw.randint(0, 2))
        return {
            "type": "array",
            "items": self.any(depth + 1),
            **{key: limits[key] for key in kept},
        }

    def leaf(self):
        return self.draw.choice(
            [self.text, self.number, self.choice, self.plain]
        )()

    def plain(self):
        kind = self.draw.choice(["string", "number", "integer", "boolean"])
        nullable = self.draw.random() < 0.2
        return {"type": [kind, "null"] if nullable else kind}

    def choice(self):
        return self.draw.choice(
            [
                {"type": "string", "enum": ["action", "comedy", "drama"]},
                {"type": "integer", "enum": [3, 5, 8]},
                {"enum": ["yes", "no", None]},
                {"type": "string", "const": "fixed"},
                {"enum": [1, "one", None, 2.5, True]},
                {"const": self.draw.choice([None, 7, True, [1], {"a": 1}])},
                {"anyOf": [self.text(), self.number(), self.null()]},
                {"type": ["string", "integer"]},
                {"type": "string", "minLength": 30, "maxLength": 40},
                {"type": "number", "multipleOf": 0.01, "maximum": 0.5},
                {"type": "number", "minimum": 0.5, "exclusiveMaximum": 1},
                {
                    "type": "array",
                    "items": {"enum": ["a", "b", "c"]},
                    "uniqueItems": True,
                    "minItems": 2,
                },
            ]
        )

    def text(self):
        if self.draw.random() < 0.5:
            return {"type": "string", "format": self.draw.choice(FORMATS)}
        return {"type": "string", "pattern": self.draw.choice(PATTERNS)}

    def number(self):
        kind = self.draw.choice(["number", "integer"])
        low = self.draw.randint(-50, 50)
        high = low + self.draw.randint(2, 60)
        schema = {"type": kind}
        if self.draw.random() < 0.7:
            name = self.draw.choice(["minimum", "exclusiveMinimum"])
            schema[name] = low
        if self.draw.random() < 0.7:
            name = self.draw.choice(["maximum", "exclusiveMaximum"])
            schema[name] = high
        if self.draw.random() < 0.3:
            steps = [2, 3, 0.5, 0.25] if kind == "number" else [2, 3]
            step = self.draw.choice(steps)
            if high - low > 2 * step:
                schema["multipleOf"] = step
        return schema


def said(prompt, schema):
    reply = answers.reply(Ask((Turn("user", prompt),), schema=schema))
    return json.loads("".join(reply.tokens))


def arguments(prompt, schema):
    tool = Tool("answer", "Gives the answer.", schema)
    ask = Ask((Turn("user", prompt),), (tool,), choice="required")
    return json.loads(tools.choose(ask, answers.VALUES)[0].arguments)


@pytest.mark.parametrize("answer", [said, arguments])
def test_generated_schemas_are_obeyed(answer):
    broken = []
    for seed in range(COUNT):
        schema = Schemas(seed).root()
        value = answer(PROMPTS[seed % len(PROMPTS)], schema)
        validator = jsonschema_rs.Draft202012Validator(
            schema, validate_formats=True
        )
        broken += [(seed, str(e)) for e in validator.iter_errors(value)]
    assert not broken


@pytest.mark.parametrize(
    ("name", "schema", "prompt", "value"),
    [
        # a table of ready values is asked last
        ("result", {"enum": ["action", "comedy", "drama"]},
         "Classify the genre: a comedy about ducks", "comedy"),
        ("answer", {"type": "integer"}, "Ada is 36. How old is Ada?", 36),
        ("answer", {"type": "number"}, "The table costs 12.5", 12.5),
        ("grade", {"type": "integer", "minimum": 1, "maximum": 5},
         "Grade this essay with 4 of 5", 4),
        ("summary", {"type": "string", "maxLength": 10}, "Say it", None),
        ("steps", {"type": "array", "items": {"type": "string"},
                   "maxItems": 2}, "Plan a dinner", None),
        ("tags", {"type": "array", "items": {"enum": ["a", "b"]}},
         "Tag it with b", ["b"]),
        # the longest choice that is named, but not where all are listed
        ("label", {"enum": ["funny", "not funny"]},
         "this joke is not funny", "not funny"),
        ("label", {"enum": ["not funny", "funny"]},
         "this joke is funny", "funny"),
        ("label", {"enum": ["news", "weather", "sports"]},
         "Which of news, weather or sports is it? Sports tonight: a goal",
         "sports"),
        ("label", {"enum": ["train", "other"]}, "brain and rain", "other"),
        # a number that does not fit is not taken
        ("age", {"type": "integer", "minimum": 100}, "36, then 120", 120),
        ("rating", {"type": "integer", "minimum": 1, "maximum": 5},
         "Rate this from 1 to 5. It was good, 4 stars", 4),
        ("code", {"type": "string", "pattern": r"^[A-Z]{3}-\d{4}$"},
         "Where is order ABC-1234?", "ABC-1234"),
        ("host", {"type": "string", "format": "ipv4"},
         "ping 192.168.0.7 now", "192.168.0.7"),
        ("at", {"type": "string", "format": "time"}, "at 7 pm", "19:00:00Z"),
        # named by none: other, the end, no
        ("kind", {"enum": ["weather", "other"]}, "hi!", "other"),
        ("next", {"enum": ["researcher", "FINISH"]}, "thank you", "FINISH"),
        ("score", {"type": "string", "description": "'yes' or 'no'"},
         "Is this relevant?", "no"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("answer", [said, arguments])
def test_the_schema_decides(answer, name, schema, prompt, value):
    whole = {
        "type": "object",
        "properties": {name: schema},
        "required": [name],
        "additionalProperties": False,
    }
    filled = answer(prompt, whole)
    jsonschema_rs.validate(whole, filled, validate_formats=True)
    assert value is None or filled[name] == value


class User(BaseModel):
    name: str
    age: int


class Users(BaseModel):
    tasks: list[User]


class Genre(Enum):
    ACTION = "action"
    COMEDY = "comedy"


class Film(BaseModel):
    result: Genre


def test_both_users_whatever_the_list_is_called():
    text = "Jason is 25 and Sarah is 30 years old."
    users = Users.model_validate(said(text, Users.model_json_schema())).tasks
    assert [(user.name, user.age) for user in users] == [
        ("Jason", 25),
        ("Sarah", 30),
    ]


def test_a_choice_behind_a_reference():
    film = said("A comedy about ducks", Film.model_json_schema())
    assert Film.model_validate(film).result is Genre.COMEDY


# Work has a bound


def requires_itself(times):
    names = [f"part{n}" for n in range(times)]
    node = {
        "type": "object",
        "properties": {name: {"$ref": "#/$defs/Node"} for name in names},
        "required": names,
        "additionalProperties": False,
    }
    return {**node, "$defs": {"Node": node}}


def doubles(levels):
    """A small schema that has 2 to the power of ``levels`` parts."""
    defs = {
        f"x{n}": {"allOf": [{"$ref": f"#/$defs/x{n + 1}"}] * 2}
        for n in range(levels)
    }
    defs[f"x{levels}"] = {"type": "object"}
    return {"type": "object", "$ref": "#/$defs/x0", "$defs": defs}


@pytest.mark.parametrize(
    "schema",
    [
        requires_itself(6),
        requires_itself(40),
        doubles(40),
        {"not": doubles(40)},
        {"$ref": "#"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
        {"properties": {"a": {"type": "string", "pattern": "^(a|a)*\\1$"}}},
        {"properties": {"a": {"pattern": "((a{999}){999}){999}"}},
         "required": ["a"]},
        {"properties": {"a": {"type": "array", "minItems": 10**9}},
         "required": ["a"]},
        {"properties": {"a": {"type": "string", "minLength": 10**9}},
         "required": ["a"]},
    ],
)  # fmt: skip
def test_no_schema_takes_long(schema):
    prompt = "a" * 40 + "! Jason is 25, Sarah is 30, and Bob is 7."
    said(prompt, schema)  # the suite's time limit judges
    arguments(prompt, schema)


def test_a_reference_to_nothing_is_the_requests_fault():
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/none"}},
        "required": ["a"],
    }
    form = {"name": "x", "schema": schema}
    body = chat(
        "hi", response_format={"type": "json_schema", "json_schema": form}
    )
    answer = send(fast_model(), "POST", "/v1/chat/completions", body)
    assert answer.status == 400
