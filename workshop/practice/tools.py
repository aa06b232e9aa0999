"""Which tools to call for a prompt, and with what."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from workshop.practice import words
from workshop.practice.ask import Ask, Call, Problem, Tool, Turn
from workshop.practice.schema import Filler
from workshop.practice.source import COUNTED, OPENERS, Source, clauses, lists

MOST = 32  # calls in one reply
ENOUGH = 3.0  # the score at which a tool fits a text
_VERBS = words.listed("verbs")
_SIGNS = words.VOCABULARY["signs"]
_NUMBER = rf"(?:\d|\b(?:{'|'.join(COUNTED)})\b)"
# A minus needs spaces, since 2026-12-01 is no sum.
_SIGN = re.compile(
    rf"({_NUMBER}\)?)(?:\s*([+*/\u00d7\u00f7])\s*"
    r"|\s([-x]|plus|minus|times|divided by|multiplied by)\s)"
    rf"(?=\(?{_NUMBER})",
    re.I,
)
# The result of an earlier call, as in "then multiply the result by 2".
_EARLIER = re.compile(
    r"\b(?:the|that)\s(?:result|answer|sum|product|total)\b"
    r"|\bit\b(?=\s(?:by|to|with|from)\b)",
    re.I,
)
_ASKS_FOR_TOOL = re.compile(r"\b(?:use|call|using)\b.{0,30}\btools?\b", re.I)
_FOLLOWS_UP = re.compile(r"\W*(?:and|what about|how about)\b", re.I)
_GOES_ON = frozenset(words.VOCABULARY["goes_on"].split())


class Wish(NamedTuple):
    """A call that the prompt asks for, and the part that does so."""

    tool: Tool
    start: int
    end: int


def choose(ask: Ask, table: dict[str, Any]) -> tuple[Call, ...]:
    """The calls to make now; none if the answer is a text.

    Those that were made since the user's last prompt are not repeated.
    ``table`` has values for parameters that a prompt rarely gives.
    """
    if not ask.tools or ask.choice == "none":
        return ()
    prompt, since = ask.prompt()
    done = _done(since)
    tools = _wanted(ask, prompt)
    calls: dict[tuple[str, str], None] = {}
    before: str | None = None  # the result of the wish before
    for tool, text in _wishes(tools, prompt):
        if text != prompt and _EARLIER.search(text):
            if before is None:
                break  # this one has to wait for it
            text = _EARLIER.sub(_quoted(before).replace("\\", r"\\"), text)
        key = tool.name, _arguments(tool, text, prompt, table)
        before = done.get(key)
        if before is None:
            calls[key] = None
    if not calls and ask.choice != "auto":
        tool = _not_yet_called(ask, prompt, since)
        known = "\n".join([prompt, *done.values()])
        calls[tool.name, _arguments(tool, known, prompt, table)] = None
    most = MOST if ask.parallel else 1
    return tuple(
        Call(name, arguments, _call_id(ask, index))
        for index, (name, arguments) in enumerate([*calls][:most])
    )


def _done(since: Iterable[Turn]) -> dict[tuple[str, str], str]:
    """The results of calls, by the tool's name and its arguments."""
    results = {t.call_id: t.text for t in since if t.role == "tool"}
    return {
        (call.name, _canonical(call.arguments)): results[call.id]
        for turn in since
        for call in turn.calls
    }


def _canonical(arguments: str) -> str:
    try:
        return _json(json.loads(arguments))
    except ValueError:
        return arguments


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _quoted(result: str) -> str:
    return result if result.strip().isdecimal() else f'"{result}"'


def _call_id(ask: Ask, index: int) -> str:
    mixed = f"{ask.digest()} {index}".encode()
    return f"call_{hashlib.blake2b(mixed, digest_size=12).hexdigest()}"


def _wanted(ask: Ask, prompt: str) -> list[Tool]:
    """The tools that the prompt or ``tool_choice`` asks for."""
    if ask.choice not in ("auto", "required"):
        named = [tool for tool in ask.tools if tool.name == ask.choice]
        if not named:
            raise Problem(
                400,
                f"Tool choice {ask.choice!r} not found in 'tools'.",
                param="tool_choice",
            )
        return named[:1]
    wanted = fitting(prompt, ask.tools)
    if not wanted and (
        ask.choice == "required" or _ASKS_FOR_TOOL.search(prompt)
    ):
        wanted = [_best(prompt, ask.tools)]
    if not wanted and _FOLLOWS_UP.match(prompt):
        called = {call.name for turn in ask.turns for call in turn.calls}
        wanted = [tool for tool in ask.tools if tool.name in called][-1:]
    return wanted


def _not_yet_called(ask: Ask, prompt: str, since: Iterable[Turn]) -> Tool:
    """For a choice that demands a call when all wishes are fulfilled."""
    named = [tool for tool in ask.tools if tool.name == ask.choice]
    called = {call.name for turn in since for call in turn.calls}
    fresh = [tool for tool in ask.tools if tool.name not in called]
    return _best(prompt, named or fresh or ask.tools)


def fitting(text: str, tools: Iterable[Tool]) -> list[Tool]:
    """The tools that a text asks for, in their own order.

    A tool is left out if everything that speaks for it speaks for
    another one too, which has more.
    """
    fits = [(tool, *_score(text, tool)) for tool in tools]
    fits = [fit for fit in fits if fit[1] >= ENOUGH]
    chosen: list[Tool] = []
    for tool, score, evidence in fits:
        others = [fit for fit in fits if fit[0] is not tool]
        explained = any(
            evidence < other or (evidence == other and score < better)
            for _, better, other in others
        )
        repeated = any(
            evidence == other and score == same and one in chosen
            for one, same, other in others
        )
        if not explained and not repeated:
            chosen.append(tool)
    return chosen


def _best(text: str, tools: Iterable[Tool]) -> Tool:
    return max(tools, key=lambda tool: _score(text, tool)[0])


def _score(text: str, tool: Tool) -> tuple[float, frozenset[str]]:
    """How well a tool fits a text, and the words that say so."""
    said = set()
    for _, sign, word in _SIGN.findall(text):
        operation = _SIGNS[(sign or word).lower()]
        said |= set(words.stems(f"{operation} math calculator expression"))
    text = _SIGN.sub(r"\1 ", text)
    said |= set(words.stems(text))
    firsts = {
        spoken[0]
        for start, end in clauses(text)
        if (spoken := words.stems(text[start:end]))
    }
    name = set(words.stems(tool.name))
    verbs = name & _VERBS if name - _VERBS else set()
    about = set(words.stems(tool.description[:300]))
    about |= set(words.stems(_json(tool.parameters.get("properties", {}))))
    score = 0.0
    for word in said & (name | about):
        core = word in name and (word not in verbs or word in firsts)
        score += ENOUGH if core else ENOUGH / 2
    evidence = said & (name | about)
    mention = rf"\b{re.escape(tool.name)}" + (
        "" if "_" in tool.name else r"\("
    )
    if re.search(mention, text):
        score += 10 * ENOUGH
        evidence.add(tool.name)
    return score, frozenset(evidence)


def _wishes(tools: list[Tool], prompt: str) -> Iterator[tuple[Tool, str]]:
    """Each call that the prompt asks for, with the text that fills it."""
    wishes: list[Wish] = []
    for start, end in clauses(prompt):
        part = prompt[start:end]
        hits = fitting(part, tools)
        wishes += [Wish(tool, start, end) for tool in hits]
        if hits or not wishes:
            continue
        last = wishes[-1]
        if _continues(prompt, start) and _fills(last.tool, part, prompt):
            wishes.append(Wish(last.tool, start, end))  # ... and in Rome
        else:
            wishes[-1] = last._replace(end=end)
    for tool in tools:
        if all(wish.tool is not tool for wish in wishes):
            wishes.append(Wish(tool, 0, len(prompt)))
    for tool, start, end in wishes:
        part = prompt[start:end]
        whole = not _fills(tool, part, prompt) and not _EARLIER.search(part)
        yield tool, prompt if whole else part


def _continues(prompt: str, start: int) -> bool:
    """Whether a part goes on with what the part before it asked for."""
    if prompt[:start].rstrip().endswith((".", "!", "?")):
        return False
    first = re.match(r"[\w']*", prompt[start:])[0].lower()
    return first in _GOES_ON or first not in OPENERS


def _fills(tool: Tool, part: str, prompt: str) -> bool:
    arguments, found = _filler(tool, part, prompt, {}).fill()
    return found and bool(arguments)


def _arguments(
    tool: Tool, text: str, prompt: str, table: dict[str, Any]
) -> str:
    return _json(_filler(tool, text, prompt, table).value())


def _filler(
    tool: Tool, text: str, prompt: str, table: dict[str, Any]
) -> Filler:
    source = Source(text, words.stems(tool.name), listed=lists(prompt))
    schema = {"type": "object", **tool.parameters}
    return Filler(schema, source, table, source.rest()[:200])
