"""The reply to an ask: tool calls, a JSON value or a text.

What it says is in ``answers.toml``. The same ask has the same reply.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from workshop.practice import tools, words
from workshop.practice.ask import Ask, Reply, Turn
from workshop.practice.schema import Filler
from workshop.practice.source import COUNTED, Source

QUOTE = 40  # characters of the prompt that a reply repeats
MOST_WORDS = 2000  # that a prompt may ask for

_FILE = tomllib.loads(
    Path(__file__).with_name("answers.toml").read_text(encoding="utf-8")
)
_ANSWERS = [
    (re.compile(entry["ask"], re.I | re.S), entry["say"].strip())
    for entry in _FILE["answer"]
]
_EXACTLY = re.compile(
    r"(?:(?:reply|respond|answer) with (?:exactly|only|just)|repeat after me"
    r"|say exactly)\s*:?\s*(.+)|^say (?!it\b|that\b|something\b)(.{1,80})$",
    re.I | re.S,
)
_COUNT_TO = re.compile(
    r"count (?:from 1 |from one )?(?:up )?to (\d{1,4})", re.I
)
_N_WORDS = re.compile(rf"\b(\d{{1,4}}|{'|'.join(COUNTED)})[ -]words?\b", re.I)
_MY_NAME = re.compile(
    r"\b(?:my name is|i am called|call me) ([\w'\u2019-]+)", re.I
)
_I_AM = re.compile(r"\b[Ii](?:'m| am) ([A-ZÀ-Þ][\w'-]+)")
_ASKS_NAME = re.compile(r"what(?:'s| is) my name|who am i\b|my name\?", re.I)
_ASKS_PAST = re.compile(
    r"what (?:did i|have i) (?:just |first )?(?:say|ask|said|asked)|"
    r"my (?:first|previous|last) (?:question|message)",
    re.I,
)


def reply(ask: Ask) -> Reply:
    """What the practice model replies; Problem if the ask is impossible."""
    calls = tools.choose(ask, _FILE["values"])
    if calls:
        return Reply(calls=calls)
    text = _say(ask) if ask.schema is None else _json_answer(ask)
    for end in ask.stop:
        text = text.partition(end)[0]
    return Reply(words.tokens(text))


def _say(ask: Ask) -> str:
    prompt, since = ask.prompt()
    results = list(_results(since))
    if results:
        return " ".join(results)
    return _obeyed(prompt) or _remembered(ask, prompt) or _known(prompt)


def _known(prompt: str) -> str:
    """The answer from the file, in as many words as the prompt wants."""
    for pattern, say in _ANSWERS:
        found = pattern.search(prompt)
        if found:
            return _in_words(prompt, say.format(**found.groupdict()))
    text = _FILE["otherwise"].format(quote=_quote(prompt))
    return _in_words(prompt, text)


def _quote(prompt: str) -> str:
    said = " ".join(prompt.split())
    if len(said) <= QUOTE:
        return said
    return said[:QUOTE].rsplit(" ", 1)[0] + " …"


def _in_words(prompt: str, text: str) -> str:
    wanted = _N_WORDS.search(prompt)
    if wanted is None:
        return text
    number = wanted[1].lower()
    count = COUNTED.index(number) if number in COUNTED else int(number)
    said = text.split()
    while len(said) < min(count, MOST_WORDS):
        said += _FILE["more"].split()
    return " ".join(said[:count]).rstrip(".,:;!?") + "."


def _obeyed(prompt: str) -> str | None:
    """The reply to a prompt that says what to reply."""
    count = _COUNT_TO.search(prompt)
    if count:
        return " ".join(map(str, range(1, int(count[1]) + 1)))
    exactly = _EXACTLY.search(prompt)
    if exactly:
        return (exactly[1] or exactly[2]).strip().strip("\"'\u201c\u201d`")
    return None


def _remembered(ask: Ask, prompt: str) -> str | None:
    """The reply to a question about this conversation."""
    said = [turn.text for turn in ask.turns if turn.role == "user"]
    if _ASKS_NAME.search(prompt):
        for text in reversed(said):
            found = _MY_NAME.search(text) or _I_AM.search(text)
            if found:
                return f"Your name is {found[1]}."
        return "You have not told me your name yet."
    if _ASKS_PAST.search(prompt):
        if len(said) < 2:
            return "This is the first thing you say to me."
        first = "first" in prompt.lower()
        return f"You said: “{_quote(said[0 if first else -2])}”"
    named = _MY_NAME.search(prompt) or _I_AM.search(prompt)
    if named and "?" not in prompt:
        return f"Nice to meet you, {named[1]}."
    return None


def _results(since: Iterable[Turn]) -> Iterator[str]:
    """What the tools found, each as a sentence."""
    names = {call.id: call.name for turn in since for call in turn.calls}
    for turn in since:
        if turn.role == "tool":
            yield _sentence(names[turn.call_id], turn.text.strip())


def _sentence(name: str, result: str) -> str:
    spoken = " ".join(words.parts(name)).lower()
    if not result:
        return f"The tool {spoken} is done."
    if result.lower().startswith(("error", "exception", "traceback")):
        return f"The tool {spoken} failed: {result}"
    try:
        value = json.loads(result)
    except ValueError:
        value = None
    if isinstance(value, dict):
        result = ", ".join(f"{key} {value[key]}" for key in value)
    elif isinstance(value, list):
        result = ", ".join(map(str, value))
    elif " " in result:
        return result if result[-1] in ".!?" else f"{result}."
    return f"The result of {spoken} is {result}."


def _json_answer(ask: Ask) -> str:
    """A JSON text that follows the schema, from the prompt and results."""
    prompt, since = ask.prompt()
    known = "\n".join([prompt, *_results(since)])
    schema = ask.schema or _schema_of_keys(prompt)
    filler = Filler(schema, Source(known), _FILE["values"], _say(ask))
    return json.dumps(filler.fill()[0], ensure_ascii=False)


def _schema_of_keys(prompt: str) -> dict[str, Any]:
    """For JSON without a schema: the keys that the prompt quotes."""
    found = []
    if re.search(r"\b(?:keys?|fields?|properties)\b", prompt):
        found = re.findall(r"[\"'`](\w+)[\"'`]", prompt)
    parts = {name: {"type": "string"} for name in found or ["answer"]}
    return {"type": "object", "properties": parts, "required": list(parts)}
