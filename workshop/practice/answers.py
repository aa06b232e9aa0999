"""The reply to an ask: tool calls, a JSON value or a text.

What it says is in ``answers.toml``. The same ask has the same reply.
"""

from __future__ import annotations

import functools
import json
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

from workshop.practice import choices, formats, tools, words
from workshop.practice.ask import LOOK_AT, Ask, Reply, Turn, hands_over
from workshop.practice.schema import Filler
from workshop.practice.source import COUNTED, Source

MOST_READ = 8_000  # characters that a JSON answer is made from
FACT, FACTS = 120, 12  # characters and entries of a summary
QUOTE = 40  # characters of the prompt that a reply repeats
MOST_WORDS = 2000  # that a prompt may ask for

_FILE = tomllib.loads(
    Path(__file__).with_name("answers.toml").read_text(encoding="utf-8")
)
VALUES = _FILE["values"]
_ANSWERS = [
    (
        re.compile(entry["ask"], re.I | re.S),
        entry["say"].strip(),
        entry.get("outside", False),
    )
    for entry in _FILE["answer"]
]
_NOTHING = _FILE["otherwise"].partition("{")[0]
_PREFIX = re.compile(
    r"\b(?:prefix|start|begin) (?:your|the) (?:response|answer|reply|message)"
    r"s? with [\"'\u201c]?([A-Z][A-Z ]+[A-Z])\b"
)
# A mark that a system message wants where the work is done.
_MARK = re.compile(
    r"\b(?i:respond|reply|answer|end|say|return|use|finish)\b[^.\n]{0,40}?"
    r"\b(TERMINATE|APPROVED?|DONE|COMPLETED?|FINISHED|STOP)\b"
)
_ENDS_CONTEXT = r"(?=\n\s*(?:question|answer|user|helpful answer)\b|\Z)"
_CONTEXT = re.compile(
    r"\b(?:context|documents?|passages?|facts)\s*:\s*(.+?)" + _ENDS_CONTEXT,
    re.I | re.S,
)
_PIECES = re.compile(
    r"\b(?:pieces of|following) (?:\w+ )?context\b.*?\n\n(.+?)"
    + _ENDS_CONTEXT,
    re.I | re.S,
)
_SPEAK_TO = re.compile(
    r"\b(?:speak|talk|transfer|connect|switch)\b.* to\b", re.I
)
_COMMAS = re.compile(r"\b(?:of|as|with) comma[- ]separated\b", re.I)
_QUESTION = re.compile(r"\bquestion\s*:\s*([^\n]+)", re.I)
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_ABOUT_ME = re.compile(r"\b(?:do|did|am|was|have|should) i\b|\bmy\b", re.I)
_MINE = re.compile(r"\b(?:i|i'm|my|the user)\b", re.I)
_ASKS_SUMMARY = re.compile(
    r"\b(?:summary|summari[sz]e|extract)\b.{0,80}\b(?:conversation|messages?|"
    r"chat|dialog|dialogue|history|above)\b",
    re.I | re.S,
)
_SAID = re.compile(
    r"^\s*(human|user|assistant|ai)\s*:\s*()([^\n]+)", re.I | re.M
)
_SAID_XML = re.compile(r"<message type=\"(human|ai)\">([^<]+)</message>")
_EXACTLY = re.compile(
    r"(?:(?:reply|respond|answer) with (?:exactly|only|just)|repeat after me"
    r"|say exactly)\s*:?\s*(?:the words? )?(.+)"
    r"|^say (?!it\b|that\b|something\b)(.{1,80})$",
    re.I | re.S,
)
_COUNT_TO = re.compile(
    r"count (?:from 1 |from one )?(?:up )?to (\d{1,4})", re.I
)
_N_WORDS = re.compile(rf"\b(\d{{1,4}}|{'|'.join(COUNTED)})[ -]words?\b", re.I)
_MY_NAME = re.compile(
    r"\b(?:(?:my|(?:the )?user(?:'s)?) name(?: is|:)|i am called|call me)"
    r" ([\w'\u2019-]+)",
    re.I,
)
_I_AM = re.compile(r"\b[Ii](?:'m| am) ([A-ZÀ-Þ][\w'-]+)")
_HELLO_I_AM = re.compile(
    r"\b(?:hi|hello|hey)\b\W+(?:(?:i'm|i am|this is)) ([\w'-]+)", re.I
)
_ASKS_NAME = re.compile(r"what(?:'s| is) my name|who am i\b|my name\?", re.I)
_ASKS_PAST = re.compile(
    r"what (?:did i|have i) (?:just |first )?(?:say|ask|said|asked)|"
    r"my (?:first|previous|last) (?:question|message)",
    re.I,
)


def reply(ask: Ask, again: int = 0) -> Reply:
    """What the practice model replies.

    ``again`` says how often the same was asked before, in vain.
    """
    forced = 0 if ask.choice == "auto" else again
    knows = functools.partial(_knows, ask)
    say = functools.partial(_say, ask)
    calls = tools.choose(ask, VALUES, knows, say, forced)
    if calls:
        return Reply(calls=calls)
    text = _json_answer(ask, again)
    if text is None:
        text = _say(ask, again)
    for end in ask.stop:
        text = text.partition(end)[0]
    calls = tools.hand_on(ask, text)
    return Reply([] if calls else words.tokens(text), calls)


def _say(ask: Ask, again: int = 0) -> str:
    """The answer in words."""
    prompt, since = ask.prompt()
    text = " ".join(_results(ask, since)) or _reported(ask, since)
    text = text or (
        _summary(ask, prompt)
        or _obeyed(prompt)
        or _remembered(ask, prompt)
        or (_known("hello") if _comes_in(ask, prompt) else None)
        or _chosen(prompt, again)
        or _from_context(ask, prompt)
        or _known(prompt)
        or _known(_said_together(ask)[-2 * LOOK_AT :])
        or _unknown(prompt)
    )
    system = " ".join(t.text for t in ask.turns if t.role == "system")
    prefix = _PREFIX.search(system[-10_000:])
    mark = _MARK.search(system[-10_000:])
    if mark and ask.is_over():
        return f"{text} {mark[1]}"
    return f"{prefix[1]}: {text}" if prefix else text


def _comes_in(ask: Ask, prompt: str) -> bool:
    """Whether the user only asked for this agent."""
    return ask.is_handed() and bool(_SPEAK_TO.search(prompt))


def _known(prompt: str) -> str | None:
    """The answer from the file, in as many words as the prompt wants."""
    entry = _entry(prompt)
    if entry is None:
        return None
    found, say, _ = entry
    return _in_words(prompt, say.format(**found.groupdict()))


def _knows(ask: Ask, prompt: str) -> bool:
    """Whether a prompt has an answer here, without a tool."""
    entry = _entry(prompt)
    said = entry is not None and not entry[2]
    return said or bool(_obeyed(prompt) or _remembered(ask, prompt))


def _entry(prompt: str) -> tuple[re.Match[str], str, bool] | None:
    """The first entry of the file that fits."""
    for pattern, say, outside in _ANSWERS:
        found = pattern.search(prompt)
        if found:
            return found, say, outside
    return None


def _unknown(prompt: str) -> str:
    if prompt.startswith(_NOTHING):
        return _FILE["nothing_new"]
    return _in_words(prompt, _FILE["otherwise"].format(quote=_quote(prompt)))


def _said_together(ask: Ask) -> str:
    """What the user said in several turns, one after the other."""
    said: list[str] = []
    for turn in ask.turns:
        said = [*said, turn.text] if turn.role == "user" else []
    return "\n".join(said)


def _reported(ask: Ask, since: Iterable[Turn]) -> str:
    """What other agents said since the prompt."""
    turns = [turn for turn in since if not ask.is_handoff(turn)]
    agents = any(turn.name for turn in since)
    handed = any(hands_over(c.name) for t in since for c in t.calls)
    if not (agents or handed):
        return ""
    said = [t.text for t in turns if t.role in ("user", "assistant")]
    return " ".join(dict.fromkeys(filter(None, said)))


def _chosen(prompt: str, again: int) -> str | None:
    """One of the categories that the prompt lists."""
    listed = choices.asked(prompt)
    if len(listed) < 2:
        return None
    named = choices.named(listed, prompt)
    return named or choices.none_of(listed, again)


def _from_context(ask: Ask, prompt: str) -> str | None:
    """The sentence of a given context that says most about a question."""
    texts = [t.text for t in ask.turns if t.role in ("system", "user")]
    given = "\n\n".join(texts)[-20_000:]
    context = _CONTEXT.search(given) or _PIECES.search(given)
    if not context:
        return None
    question = _QUESTION.search(prompt)
    sentences = _SENTENCE.split(context[1].strip())
    return _closest(question[1] if question else prompt, sentences)


def _closest(question: str, sentences: Iterable[str]) -> str | None:
    """The first sentence that shares most words with a question."""
    asked = set(words.stems(question))
    best, most = None, 0
    for sentence in sentences:
        shared = len(asked & set(words.stems(sentence)))
        if shared > most:
            best, most = sentence, shared
    return best


def _summary(ask: Ask, prompt: str) -> str | None:
    """What was said in the conversation, or in one that stands in a prompt."""
    if not _ASKS_SUMMARY.search(prompt):
        return None
    at = max(i for i, t in enumerate(ask.turns) if t.role != "tool")
    said = _SAID.findall(ask.turns[at].text[-20_000:])
    parts = [f"{who.lower()}: {text}" for who, _, text in said] + [
        f"{'user' if who == 'human' else 'assistant'}: {text}"
        for who, text in _SAID_XML.findall(ask.turns[at].text[-20_000:])
    ]
    if not parts:
        parts = [
            f"{turn.role}: {turn.text}"
            for turn in ask.turns[:at]
            if turn.role in ("user", "assistant") and turn.text
        ]
    if not parts:
        return None
    short = [" ".join(part.split())[:FACT] for part in parts[-FACTS:]]
    return "So far: " + " | ".join(short)


def _quote(prompt: str) -> str:
    said = " ".join(prompt.split())
    if len(said) <= QUOTE:
        return said
    return said[:QUOTE].rsplit(" ", 1)[0] + " …"


def _in_words(prompt: str, text: str) -> str:
    wanted = _N_WORDS.search(prompt)
    if wanted is None:
        return text
    count = _how_many(wanted[1])
    said = text.split()
    while len(said) < min(count, MOST_WORDS):
        said += _FILE["more"].split()
    return " ".join(said[:count]).rstrip(".,:;!?") + "."


def _how_many(text: str) -> int:
    """The first number that a text says, or 0."""
    number = Source(text).take("number", accept=str.isdigit)
    return int(number or 0)


def _obeyed(prompt: str) -> str | None:
    """The reply to a prompt that says what to reply."""
    count = _COUNT_TO.search(prompt)
    if count:
        return " ".join(map(str, range(1, int(count[1]) + 1)))
    if _COMMAS.search(prompt):
        return ", ".join(_FILE["listed"][: _how_many(prompt) or 3])
    exactly = _EXACTLY.search(prompt)
    if exactly:
        return (exactly[1] or exactly[2]).strip().strip("\"'\u201c\u201d`")
    return None


def _remembered(ask: Ask, prompt: str) -> str | None:
    """The reply to a question about this conversation."""
    said = [turn.text for turn in ask.turns if turn.role == "user"]
    told = [turn.text for turn in ask.turns if turn.role == "system"]
    if _ASKS_NAME.search(prompt):
        for text in reversed([*told, *said]):
            if name := _name(text):
                return f"Your name is {name}."
        return "You have not told me your name yet."
    if _ASKS_PAST.search(prompt):
        if len(said) < 2:
            return "This is the first thing you say to me."
        first = "first" in prompt.lower()
        return f"You said: “{_quote(said[0 if first else -2])}”"
    named = _name(prompt)
    if named and "?" not in prompt:
        return f"Nice to meet you, {named}."
    if "?" in prompt and _ABOUT_ME.search(prompt):
        about = " ".join([*told, *said[:-1]])[-MOST_READ:]
        own = [s for s in _SENTENCE.split(about) if _MINE.search(s)]
        sentence = _closest(prompt, own)
        return f"You told me: “{_quote(sentence)}”" if sentence else None
    return None


def _name(text: str) -> str | None:
    """The name of the user, where a text says it."""
    for pattern in (_MY_NAME, _I_AM, _HELLO_I_AM):
        found = pattern.search(text)
        if found:
            return found[1][0].upper() + found[1][1:]
    return None


def _results(ask: Ask, since: Iterable[Turn]) -> Iterator[str]:
    """What the tools found, each as a sentence."""
    since = list(since)
    names = {call.id: call.name for turn in since for call in turn.calls}
    for turn in since:
        if turn.role == "tool" and not ask.is_handoff(turn):
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
    return f"The result of {spoken} is {result.rstrip('.')}."


def _json_answer(ask: Ask, again: int) -> str | None:
    """A JSON text if one is wanted: by the request, or by the prompt."""
    _, since = ask.prompt()
    prompt = _said_together(ask) if ask.turns[-1].role == "user" else ""
    prompt = prompt or ask.prompt()[0]
    schema = ask.schema
    if not schema:
        told = [t.text for t in ask.turns if t.role == "system"]
        form = formats.described(prompt, schema is not None)
        if form is None:
            form = formats.described("\n".join(told), schema is not None)
            form = form and form._replace(rest=prompt)
        if form is None and schema is None:
            return None
        schema, prompt = form or (formats.any_object(), prompt)
    known = "\n".join([*_results(ask, since), prompt])[:MOST_READ]
    filler = Filler(
        schema,
        Source(known),
        VALUES,
        _say(ask),
        again,
        ask.is_over(),
    )
    return json.dumps(filler.value(), ensure_ascii=False)
