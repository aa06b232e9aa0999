"""Values that follow a JSON schema, found in a text where it has them."""

from __future__ import annotations

import datetime
import re
from typing import Any

from workshop.practice import words
from workshop.practice.source import Source, clauses

DEEPEST = 6  # levels; a schema may contain itself
ABSENT = object()
# What these lists are for is said in the vocabulary.
FREE = words.listed("free_text")
FORMULA = words.listed("formula")
SWITCH = words.listed("switch")
AGAIN = words.listed("again")
FORMATS = {
    form: (frozenset(map(words.stem, names.split())), example)
    for form, (names, example) in words.VOCABULARY["formats"].items()
}


class Filler:
    """Fills a schema from a text.

    ``table`` has values for names that a text rarely says; an empty one,
    and any other string that the text does not say, is ``otherwise``.
    """

    def __init__(
        self,
        root: dict[str, Any],
        source: Source,
        table: dict[str, Any],
        otherwise: str,
    ) -> None:
        self._root = root
        self._source = source
        self._table = table
        self._otherwise = otherwise

    def fill(self) -> tuple[Any, bool]:
        """A value, and whether the text had all that is required."""
        root = self._resolved(self._root)
        if _kind(root) == "object":
            return self._object(root, 0)
        value = self._find(root, "", 0, hinted=False)
        if value is not ABSENT:
            return value, True
        return self._make_up(root, "", 0), False

    def _object(
        self, schema: dict[str, Any], depth: int
    ) -> tuple[dict[str, Any], bool]:
        parts = schema.get("properties") or {}
        required = [
            name
            for name in schema.get("required", ())
            if name in parts and not _nullable(self._resolved(parts[name]))
        ]
        self._source.set_aside(parts)
        values: dict[str, Any] = {}
        for hinted in (True, False):
            for name, part in parts.items():
                # What may be left out is only taken where it is named.
                if name not in values and (
                    hinted or name in required or not required
                ):
                    value = self._find(part, name, depth + 1, hinted)
                    if value is not ABSENT:
                        values[name] = value
        found = all(name in values for name in required)
        for name in schema.get("required", ()):
            if name in parts and name not in values:
                values[name] = self._make_up(parts[name], name, depth + 1)
        return {name: values[name] for name in parts if name in values}, found

    def _find(self, schema: Any, name: str, depth: int, hinted: bool) -> Any:
        """A value that the text has, or ABSENT.

        ``hinted`` accepts only what the text connects with the name.
        """
        schema = self._resolved(schema)
        for variant in schema["anyOf"]:
            value = self._find(variant, name, depth, hinted)
            if value is not ABSENT and value is not None:
                return value
        if schema["anyOf"]:
            return ABSENT
        if name in self._table:
            return self._from_table(schema, name)
        if "enum" in schema:
            return self._find_choice(schema["enum"])
        if "const" in schema:
            return schema["const"]
        hint = _hint(name)
        match _kind(schema):
            case "string":
                return self._find_text(schema, hint, hinted)
            case "integer" | "number" as kind:
                number = self._source.take("number", hint if hinted else None)
                return ABSENT if number is None else _number(number, kind)
            case "boolean":
                return self._find_flag(hint)
            case "array" if not hinted and depth < DEEPEST:
                found = self._find_list(schema, depth)
                found = found[: schema.get("maxItems")]
                least = schema.get("minItems", 1)
                return found if found and len(found) >= least else ABSENT
            case "object" if not hinted and depth < DEEPEST:
                return self._find_object(schema, depth)
        return ABSENT

    def _find_choice(self, choices: list[Any]) -> Any:
        for choice in choices:
            if self._source.take_words(str(choice)):
                return choice
        said = set(words.stems(self._source.text))
        for choice in choices:
            if not said.isdisjoint(words.stems(str(choice))):
                return choice
        return ABSENT

    def _find_text(
        self, schema: dict[str, Any], hint: frozenset[str], hinted: bool
    ) -> Any:
        take = self._source.take
        found = None
        form = _format(schema, hint)
        demanded = schema.get("format") in FORMATS
        if form is not None:
            found = take(form.removesuffix("-time"))
            if found is None and form.startswith("date"):
                found = take("day")
                if found and demanded:
                    found = _calendar_day(found)
        if found or demanded:
            return found or ABSENT
        if hinted:
            found = self._after_name(hint)
            found = found or take("quoted", hint) or take("name", hint)
        elif hint & FORMULA:
            found = take("sum")
        elif hint & FREE:
            found = take("quoted") or self._source.take_phrase(free=True)
            if found is None and self._source.listed:
                found = self._source.rest()
        else:
            found = take("quoted") or take("name") or self._short_phrase()
        return found or ABSENT

    def _after_name(self, hint: frozenset[str]) -> str | None:
        """What stands after "name:", "name=" or "name is" in the text."""
        for label, value in re.findall(
            r"(\w+)(?:\s*[:=]\s*|\sis\s)(\"[^\"]+\"|[^\s,;]+)",
            self._source.text,
        ):
            if words.stem(label) in hint:
                value = value.strip("\"'.?!")
                self._source.take_words(value)
                return value
        return None

    def _short_phrase(self) -> str | None:
        mark = self._source.mark()
        phrase = self._source.take_phrase(free=False)
        if phrase is None and self._source.listed:
            phrase = self._source.rest()
        if phrase and len(phrase.split()) <= 3:
            return phrase
        self._source.give_back(mark)
        return None

    def _find_flag(self, hint: frozenset[str]) -> Any:
        text = self._source.text.lower()
        if hint & SWITCH and re.search(r"\b(?:off|out|disable)\b", text):
            return False
        for word in re.findall(r"[\w']+", text):
            if words.stem(word) in hint and word not in ("is", "be", "has"):
                denied = rf"\b(?:no|not|without|don't)\s(?:\w+\s)?{word}"
                return re.search(denied, text) is None
        return ABSENT

    def _find_list(self, schema: dict[str, Any], depth: int) -> list[Any]:
        item = self._resolved(schema.get("items") or {})
        source = self._source
        if "enum" in item:
            return [c for c in item["enum"] if source.take_words(str(c))]
        match _kind(item):
            case "integer" | "number" as kind:
                return [_number(n, kind) for n in source.take_all("number")]
            case "string":
                found = source.take_all("quoted") or source.take_all("name")
                return found if len(found) > 1 else self._listed(found)
            case "object":
                values = []
                for start, end in clauses(source.text):
                    part = Source(source.text[start:end])
                    filler = Filler(self._root, part, {}, "")
                    value = filler._find_object(item, depth + 1)
                    values += [] if value is ABSENT else [value]
                return values
        return []

    def _listed(self, found: list[str]) -> list[str]:
        entries = self._source.entries()
        return entries if len(entries) > 1 else found

    def _find_object(self, schema: dict[str, Any], depth: int) -> Any:
        mark = self._source.mark()
        if schema.get("properties"):
            value, found = self._object(schema, depth)
        else:
            pairs = re.findall(r"(\w+)\s*[:=]\s*([^\s,;]+)", self._source.text)
            value, found = dict(pairs), bool(pairs)
        if found and value:
            return value
        self._source.give_back(mark)
        return ABSENT

    def _make_up(self, schema: Any, name: str, depth: int) -> Any:
        """A value that is allowed, for what the text does not say."""
        schema = self._resolved(schema)
        if "default" in schema:
            return schema["default"]
        if _nullable(schema):
            return None
        if schema["anyOf"]:
            return self._make_up(schema["anyOf"][0], name, depth)
        if "enum" in schema:
            return schema["enum"][0]
        if "const" in schema:
            return schema["const"]
        match _kind(schema):
            case "object":
                deep = depth >= DEEPEST
                return {} if deep else self._object(schema, depth)[0]
            case "array":
                item = schema.get("items") or {}
                count = schema.get("minItems", 0 if depth > 1 else 1)
                return [self._make_up(item, name, depth + 1)] * count
            case "integer" | "number":
                above = schema.get("exclusiveMinimum", 0) + 1
                return schema.get("maximum", schema.get("minimum", above))
            case "boolean":
                return AGAIN.isdisjoint(_hint(name))
            case "null":
                return None
        form = _format(schema, frozenset())
        text = FORMATS[form][1] if form else self._otherwise
        return text[: schema.get("maxLength")]

    def _from_table(self, schema: dict[str, Any], name: str) -> Any:
        value = self._table[name]
        kind = _kind(schema)
        if isinstance(value, list) and kind == "array":
            item = self._resolved(schema.get("items"))
            return value if _kind(item) == "string" else ABSENT
        fits = isinstance(value, str) and kind == "string"
        return (value or self._otherwise) if fits else ABSENT

    def _resolved(self, schema: Any) -> dict[str, Any]:
        """The schema with its references and parts put in."""
        schema = _dict(schema)
        for _ in range(DEEPEST):
            if "$ref" not in schema:
                break
            target: Any = self._root
            for step in schema["$ref"].split("/")[1:]:
                target = target[step]
            own = {k: v for k, v in schema.items() if k != "$ref"}
            schema = {**target, **own}
        merged = {"anyOf": schema.get("oneOf", []), **schema}
        merged["anyOf"] = [_dict(part) for part in merged["anyOf"]]
        for part in schema.get("allOf", ()):
            merged.update(self._resolved(part))
        return merged


def _dict(schema: Any) -> dict[str, Any]:
    """A schema may be ``true`` too, which allows anything."""
    return schema if isinstance(schema, dict) else {}


def _hint(name: str) -> frozenset[str]:
    return frozenset(map(words.stem, words.parts(name)))


def _kind(schema: dict[str, Any]) -> str:
    """The type that a schema asks for, or "" if it lists what it takes."""
    if schema["anyOf"] or "enum" in schema or "const" in schema:
        return ""
    kind = schema.get("type")
    if isinstance(kind, list):
        return next((k for k in kind if k != "null"), "null")
    return kind or ("object" if "properties" in schema else "string")


def _nullable(schema: dict[str, Any]) -> bool:
    kinds = schema.get("type")
    variants = schema["anyOf"]
    return (isinstance(kinds, list) and "null" in kinds) or any(
        variant.get("type") == "null" for variant in variants
    )


def _format(schema: dict[str, Any], hint: frozenset[str]) -> str | None:
    form = schema.get("format")
    if form in FORMATS:
        return form
    for form, (names, _) in FORMATS.items():
        if hint & names:
            return form
    return None


def _number(text: str, kind: str) -> int | float:
    whole, point, _ = text.partition(".")
    return float(text) if point and kind == "number" else int(whole)


def _calendar_day(word: str) -> str:
    """The ISO date of "tomorrow" or "next Friday"."""
    today = datetime.date.today()
    day = word.lower().split()[-1]
    ahead = {"today": 0, "tonight": 0, "tomorrow": 1}.get(day)
    if ahead is None:
        weekday = "montuewedthufrisatsun".index(day[:3]) // 3
        ahead = (weekday - today.weekday() - 1) % 7 + 1
    return str(today + datetime.timedelta(days=ahead))
