"""Values that follow a JSON schema, found in a text where it has them.

The schema decides: what a text offers is taken only where it fits, what
it does not offer is made up, and the whole is validated in the end.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

from workshop.practice import choices, patterns, words, work
from workshop.practice.source import PATTERNS, Source, clauses
from workshop.practice.validity import (
    JUDGED,
    accepts,
    as_dict,
    target,
    validator,
)

DEEPEST = 12  # levels; a schema may contain itself
DEEPEST_FOUND = 4  # levels that are looked for in the text
MOST_MORE = 100  # parts of an object that have no name in its schema
ABSENT = object()
# What these lists are for is said in the vocabulary.
FREE = words.listed("free_text")
QUANTITY = words.listed("quantity")
FORMULA = words.listed("formula")
SWITCH = words.listed("switch")
AGAIN = words.listed("again")
FINE = words.listed("fine")
IDS = words.listed("ids")
SAYS = words.listed("says")
ASKS = words.listed("asks")
NAMES = {
    form: frozenset(map(words.stem, names.split()))
    for form, names in words.VOCABULARY["format_names"].items()
}
EXAMPLES = words.VOCABULARY["format_examples"]


class Filler:
    """Fills a schema from a text.

    ``table`` has values for names that a text rarely says; an empty one,
    and any other string that the text does not say, is ``otherwise``.
    ``again`` turns choices that were made before; ``over`` says that
    the work is done: a choice that ends it is taken.
    """

    def __init__(
        self,
        root: dict[str, Any],
        source: Source,
        table: dict[str, Any],
        otherwise: str,
        again: int = 0,
        over: bool = False,
    ) -> None:
        self._root = root
        self._source = source
        self._table = table
        self._otherwise = otherwise
        self._again = again
        self._over = over
        self._work = work.mine()
        self._bare = False
        self._spare: dict[tuple[int, int], Any] = {}

    def fill(self) -> tuple[Any, bool]:
        """A value, and whether the text had all that is required."""
        root = self._resolved(self._root)
        if _kind(root) == "object":
            return self._object(root, 0)
        value = self._find(root, "", 0, hinted=False)
        if value is not ABSENT:
            return value, True
        return self._make_up(root, "", 0), False

    def value(self) -> Any:
        """A value that was validated, and mended where it failed."""
        value, _ = self.fill()
        valid = validator(self._root)
        if valid(value):
            return value
        self._bare = True
        self._work.refill()
        made_up, _ = self.fill()
        return made_up if valid(made_up) else value

    def _spend(self) -> bool:
        """Whether there is still work to be done."""
        return self._work.spend()

    def _object(
        self, schema: dict[str, Any], depth: int
    ) -> tuple[dict[str, Any], bool]:
        parts = as_dict(schema.get("properties"))
        every = [n for n in schema.get("required", ()) if n in parts]
        required = [
            n for n in every if not self._nullable(self._resolved(parts[n]))
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
        for name in every:
            if name not in values:
                values[name] = self._make_up(parts[name], name, depth + 1)
        filled = {name: values[name] for name in parts if name in values}
        more = schema.get("additionalProperties")
        for name in schema.get("required", ()):  # one that is not described
            filled.setdefault(name, self._otherwise)
        while len(filled) < min(schema.get("minProperties", 0), MOST_MORE):
            name = f"part_{len(filled) + 1}"
            filled[name] = self._make_up(more, name, depth + 1)
        return filled, found

    def _find(self, schema: Any, name: str, depth: int, hinted: bool) -> Any:
        """A value that the text has, or ABSENT.

        ``hinted`` accepts only what the text connects with the name.
        """
        if self._bare or not self._spend():
            return ABSENT
        part = id(schema)
        schema = self._resolved(schema)
        for variant in schema["anyOf"]:
            value = self._find(variant, name, depth, hinted)
            if value is not ABSENT and value is not None:
                return value
        if schema["anyOf"]:
            return ABSENT
        if "const" in schema:
            return schema["const"]
        options = self._options(schema)
        if options:
            return self._find_choice(options)
        accept = accepts(schema)
        hint = _hint(name)
        match _kind(schema):
            case "string":
                return self._find_text(schema, name, hint, hinted, accept)
            case "integer" | "number" as kind:
                return self._find_number(schema, kind, hint, hinted, accept)
            case "boolean":
                return self._find_flag(hint)
            case "array" if not hinted and depth < DEEPEST_FOUND:
                return self._find_list(schema, name, depth, accept)
            case "object" if not hinted and depth < DEEPEST_FOUND:
                return self._find_object(schema, depth, part)
        return ABSENT

    def _find_number(
        self,
        schema: dict[str, Any],
        kind: str,
        hint: frozenset[str],
        hinted: bool,
        accept: Callable[[Any], bool],
    ) -> Any:
        # A text that says "from 1 to 5" means neither of them.
        bounds = (schema.get("minimum"), schema.get("maximum"))
        for avoided in (bounds, ()):
            number = self._source.take(
                "number",
                hint if hinted else None,
                lambda text, avoided=avoided: (
                    accept(_number(text, kind))
                    and _number(text, kind) not in avoided
                ),
            )
            if number is not None:
                return _number(number, kind)
        return ABSENT

    def _options(self, schema: dict[str, Any]) -> list[Any]:
        """What a schema lets one choose from; a description may list it."""
        if "enum" in schema:
            accept = accepts(schema)
            options = [c for c in schema["enum"] if accept(c)]
            return options or schema["enum"]
        if _kind(schema) == "string" and not set(JUDGED) & set(schema):
            return choices.listed(str(schema.get("description", "")))
        return []

    def _find_choice(self, options: list[Any]) -> Any:
        end = choices.ends(options)
        if self._over and end:
            return end[0]
        choice = choices.named(options, self._source.text)
        if choice is None:
            return ABSENT
        self._source.take_words(str(choice))
        turned = options.index(choice) + self._again
        return options[turned % len(options)]

    def _find_text(
        self,
        schema: dict[str, Any],
        name: str,
        hint: frozenset[str],
        hinted: bool,
        accept: Callable[[Any], bool],
    ) -> Any:
        take = self._source.take

        def near(kind: str) -> str | None:
            return take(kind, hint)

        found = None
        form = _format(schema, hint)
        demanded = "format" in schema or "pattern" in schema
        if form is not None and (hinted or not demanded):
            found = take(form.removesuffix("-time"))
            if found is None and form.startswith("date"):
                found = take("day")
        if demanded and found is not None:
            found = _written(found, form)
            return found if accept(found) else ABSENT
        if demanded and not hinted:
            return self._source.take_word(accept) or ABSENT
        if demanded or found:
            return found or ABSENT
        if hinted:
            found = self._after_name(hint)
            kinds = ("quoted", "name", "number")[: 3 if hint & IDS else 2]
            found = found or next(filter(None, map(near, kinds)), None)
        elif name in self._table and isinstance(self._table[name], str):
            found = self._table[name] or self._otherwise
        elif hint & FORMULA:
            found = take("sum")
        elif hint & QUANTITY:
            found = take("number")
        elif hint & FREE:
            found = take("quoted") or self._source.take_phrase(free=True)
            if found is None and self._source.listed:
                found = self._source.rest()
        else:
            found = take("quoted") or take("name") or self._short_phrase()
        found = found and found[: schema.get("maxLength")]
        return found if found and accept(found) else ABSENT

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
        if phrase and len(phrase.split()) <= 3 and not phrase.isdigit():
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

    def _find_list(
        self,
        schema: dict[str, Any],
        name: str,
        depth: int,
        accept: Callable[[Any], bool],
    ) -> Any:
        if "prefixItems" in schema:
            return ABSENT
        item = self._resolved(schema.get("items") or {})
        fits = accepts(item)
        found = list(filter(fits, self._entries(item, name, depth)))
        if schema.get("uniqueItems"):
            found = [v for i, v in enumerate(found) if v not in found[:i]]
        found = found[: schema.get("maxItems")]
        if found and len(found) < schema.get("minItems", 0):
            found = self._made_list(schema, name, depth, found)
        return found if found and accept(found) else ABSENT

    def _entries(
        self, item: dict[str, Any], name: str, depth: int
    ) -> list[Any]:
        source = self._source
        if "enum" in item:
            return [c for c in item["enum"] if source.take_words(str(c))]
        match _kind(item):
            case "integer" | "number" as kind:
                return [_number(n, kind) for n in source.take_all("number")]
            case "string" if isinstance(self._table.get(name), list):
                return list(self._table[name])
            case "string":
                found = source.take_all("quoted") or source.take_run("name")
                return found if len(found) > 1 else self._listed(found)
            case "object":
                return list(self._objects(item, depth))
        return []

    def _listed(self, found: list[str]) -> list[str]:
        entries = self._source.entries()
        return entries if len(entries) > 1 else found

    def _objects(self, item: dict[str, Any], depth: int) -> Iterator[Any]:
        """An object for each part of the text that has one."""
        whole, table, said = self._source, self._table, self._otherwise
        self._table, self._otherwise = {}, ""
        for start, end in clauses(whole.text):
            if not self._spend():
                break
            self._source = Source(whole.text[start:end])
            value = self._find_object(item, depth + 1, 0)
            if value is not ABSENT:
                yield value
        self._source, self._table, self._otherwise = whole, table, said

    def _find_object(
        self, schema: dict[str, Any], depth: int, part: int
    ) -> Any:
        mark = self._source.mark()
        if schema.get("properties"):
            value, found = self._object(schema, depth)
        else:
            pairs = re.findall(r"(\w+)\s*[:=]\s*([^\s,;]+)", self._source.text)
            value = dict(pairs)
            whole = {k: v for k, v in schema.items() if v != []}
            whole["$defs"] = self._root.get("$defs") or {}
            found = bool(pairs) and validator(whole)(value)
        if found and value:
            return value
        self._source.give_back(mark)
        if schema.get("properties"):
            self._spare[part, depth] = value  # should one have to be made up
        return ABSENT

    def _make_up(self, schema: Any, name: str, depth: int) -> Any:
        """A value that is allowed, for what the text does not say."""
        spare = self._spare.pop((id(schema), depth), None)
        schema = self._resolved(schema)
        if not self._spend() and self._goes_on(schema):
            return [] if _kind(schema) == "array" else {}
        accept = accepts(schema)
        if "default" in schema and accept(schema["default"]):
            return schema["default"]
        if "const" in schema:
            return schema["const"]
        if self._nullable(schema) and not self._options(schema):
            return None
        if schema["anyOf"]:
            variants = schema["anyOf"]
            if depth >= DEEPEST_FOUND:  # one that does not go deeper
                variants = sorted(variants, key=self._goes_on)
            return self._make_up(variants[0], name, depth)
        options = self._options(schema)
        if options:
            none = choices.none_of(options, self._again)
            end = choices.ends(options)
            return end[0] if self._over and end else none
        match _kind(schema):
            case "object":
                return self._made_object(schema, depth, spare)
            case "array":
                return self._made_list(schema, name, depth)
            case "integer" | "number" as kind:
                return _made_number(schema, kind, accept)
            case "boolean":
                return self._holds(_hint(name)) != bool(self._again % 2)
            case "null":
                return None
        return self._made_text(schema, name, accept)

    @staticmethod
    def _holds(hint: frozenset[str]) -> bool:
        """Whether a flag that the text does not mention is set.

        One that asks to go on is not, nor one that says what the text is.
        """
        return hint.isdisjoint(AGAIN) and (
            bool(hint & FINE) or hint.isdisjoint(SAYS)
        )

    def _goes_on(self, schema: dict[str, Any]) -> bool:
        schema = self._resolved(schema)
        return bool(schema["anyOf"]) or _kind(schema) in ("object", "array")

    def _made_object(
        self, schema: dict[str, Any], depth: int, spare: Any
    ) -> dict[str, Any]:
        if depth >= DEEPEST:
            return {}
        return self._object(schema, depth)[0] if spare is None else spare

    def _made_list(
        self,
        schema: dict[str, Any],
        name: str,
        depth: int,
        values: list[Any] | None = None,
    ) -> list[Any]:
        """As many entries as there must be, after those of ``values``."""
        item = schema.get("items") or {}
        first = schema.get("prefixItems") or []
        count = schema.get("minItems", 0 if depth > 1 else 1)
        count = min(count, schema.get("maxItems", count))
        if schema.get("items") is False:
            count = min(count, len(first))
        values = list(values or ())
        number = 0
        while len(values) < count and self._spend() and depth < DEEPEST:
            at = len(values)
            part = first[at] if at < len(first) else item
            value = self._vary(part, name, depth + 1, number)
            number += 1
            if not schema.get("uniqueItems") or value not in values:
                values.append(value)
        return values

    def _vary(self, item: Any, name: str, depth: int, number: int) -> Any:
        """A value for one more entry of a list, another where it can be."""
        schema = self._resolved(item)
        accept = accepts(schema)
        options = self._options(schema)
        if options:
            return options[number % len(options)]
        value = self._make_up(item, name, depth)
        other = value
        if schema["anyOf"] or "const" in schema:
            return value
        if isinstance(value, bool):
            other = value != bool(number % 2)
        elif isinstance(value, str) and number:
            other = f"{value} {number + 1}"
        elif type(value) in (int, float):
            step = schema.get("multipleOf", 1) * number
            other = value - step if accept(value - step) else value + step
        return other if accept(other) else value

    def _made_text(
        self,
        schema: dict[str, Any],
        name: str,
        accept: Callable[[Any], bool],
    ) -> str:
        text = self._otherwise
        form = schema.get("format")
        if isinstance(self._table.get(name), str):
            text = self._table[name] or text
        elif _hint(name) & ASKS:
            text = self._source.rest()[:200] or text
        if form in EXAMPLES:
            text = EXAMPLES[form]
        candidates = [text]
        pattern = schema.get("pattern")
        if isinstance(pattern, str):
            least = schema.get("minLength", 0)
            candidates += patterns.examples(pattern, (0, 1, 2, 4, 8, least))
        least = min(schema.get("minLength", 0), 10_000)
        if len(text) < least:
            text = f"{text} " * (least // (len(text) + 1) + 1)
            candidates.append(text)
        candidates.append(text[: schema.get("maxLength")])
        return next(filter(accept, candidates), candidates[-1])

    def _resolved(self, schema: Any, depth: int = 0) -> dict[str, Any]:
        """The schema with its references and parts put in."""
        schema = as_dict(schema)
        for _ in range(DEEPEST):
            if not isinstance(schema.get("$ref"), str):
                break
            own = {k: v for k, v in schema.items() if k != "$ref"}
            schema = {**target(self._root, schema["$ref"]), **own}
        variants = schema.get("anyOf") or schema.get("oneOf") or []
        merged = {**schema, "anyOf": [as_dict(part) for part in variants]}
        merged.pop("oneOf", None)
        for part in merged.pop("allOf", ()):
            if depth < DEEPEST and self._spend():
                more = self._resolved(part, depth + 1)
                more = {k: v for k, v in more.items() if v != []}
                both = ("properties", "required")
                if isinstance(more.get("properties"), dict):
                    before = as_dict(merged.get(both[0]))
                    more[both[0]] = {**before, **more[both[0]]}
                    more[both[1]] = [
                        *merged.get(both[1], ()),
                        *more.get(both[1], ()),
                    ]
                merged.update(more)
        return merged

    def _nullable(self, schema: dict[str, Any]) -> bool:
        kinds = schema.get("type")
        return (isinstance(kinds, list) and "null" in kinds) or any(
            self._resolved(part).get("type") == "null"
            for part in schema["anyOf"]
        )


def _hint(name: str) -> frozenset[str]:
    return frozenset(map(words.stem, words.parts(name)))


def _kind(schema: dict[str, Any]) -> str:
    """The type that a schema asks for, or "" if it lists what it takes."""
    if schema["anyOf"] or "enum" in schema or "const" in schema:
        return ""
    kind = schema.get("type")
    if isinstance(kind, list):
        return next((k for k in kind if k != "null"), "null")
    for key, meant in (("properties", "object"), ("items", "array")):
        if kind is None and key in schema:
            return meant
    return kind or "string"


def _format(schema: dict[str, Any], hint: frozenset[str]) -> str | None:
    form = schema.get("format")
    if form is not None:
        return form if form in PATTERNS or form == "date-time" else None
    if "pattern" in schema:
        return None
    for form, names in NAMES.items():
        if hint & names:
            return form
    return None


def _number(text: str, kind: str) -> int | float:
    whole, point, _ = text.partition(".")
    return float(text) if point and kind == "number" else int(whole)


def _made_number(
    schema: dict[str, Any], kind: str, accept: Callable[[Any], bool]
) -> int | float:
    """The largest number that is allowed, or else the smallest, or 1."""
    from fractions import Fraction  # late: it is seldom needed

    step = Fraction(str(schema.get("multipleOf") or 1))
    limits = ("maximum", "minimum", "exclusiveMaximum", "exclusiveMinimum")
    bounds = [
        schema[name]
        for name in limits
        if type(schema.get(name)) in (int, float)
    ]
    candidates: list[Any] = [*bounds]
    for bound in [*bounds, 0]:
        at = math.floor(Fraction(str(bound)) / step)
        near = [at, at + 1, at - 1] if bound else [1, 0, -1]
        candidates += [number * step for number in near]
    if len(bounds) > 1:  # between two that are close
        middle = sum(map(Fraction, map(str, bounds))) / len(bounds)
        candidates += [math.floor(middle / step) * step, middle]
    for candidate in candidates:
        number = _plain(candidate, kind)
        if number is not None and accept(number):
            return number
    return 1


def _plain(number: Any, kind: str) -> int | float | None:
    if number == int(number):
        return int(number)
    return float(number) if kind == "number" else None


def _written(found: str, form: str | None) -> str:
    """A day or a time of the text as its format wants it."""
    if form in ("date", "date-time") and not found[0].isdigit():
        found = _calendar_day(found)
    clock = re.fullmatch(r"(\d{1,2})(?::(\d\d))?\s?([ap]m)?", found, re.I)
    if form == "time" and clock:
        hour = int(clock[1]) % (12 if clock[3] else 24)
        hour += 12 * ((clock[3] or "").lower() == "pm")
        return f"{hour:02}:{clock[2] or '00'}:00Z"
    return f"{found}T12:00:00Z" if form == "date-time" else found


def _calendar_day(word: str) -> str:
    """The ISO date of "tomorrow" or "next Friday"."""
    today = datetime.date.today()
    day = word.lower().split()[-1]
    ahead = {"today": 0, "tonight": 0, "tomorrow": 1}.get(day)
    if ahead is None:
        weekday = "montuewedthufrisatsun".index(day[:3]) // 3
        ahead = (weekday - today.weekday() - 1) % 7 + 1
    return str(today + datetime.timedelta(days=ahead))
