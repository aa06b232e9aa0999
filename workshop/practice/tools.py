"""Which tools to call for a prompt, and with what."""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from workshop.practice import words
from workshop.practice.ask import Ask, Call, Tool, Turn, hands_over
from workshop.practice.schema import FORMULA, Filler
from workshop.practice.source import COUNTED, OPENERS, Source, clauses, lists
from workshop.practice.validity import as_dict

MOST = 32  # calls in one reply
ENOUGH = 3.0  # the score at which a tool fits a text
_VERBS = words.listed("verbs")
_SIGNS = words.VOCABULARY["signs"]
_NUMBER = rf"(?:\d|\b(?:{'|'.join(COUNTED)})\b)"
# A minus needs spaces, since 2026-12-01 is no sum.
_SIGN = re.compile(
    rf"({_NUMBER}\)?|\bresult)(?:\s*([+*/\u00d7\u00f7])\s*"
    r"|\s([-x]|plus|minus|times|divided by|multiplied by)\s)"
    rf"(?=\(?{_NUMBER}|the result)",
    re.I,
)
# The result of an earlier call, as in "then multiply the result by 2".
_EARLIER = re.compile(
    r"\b(?:the|that|its)\s(?:result|answer|sum|product|total|output)\b(?!\s+of\b)"
    r"|\b(?:it|that|this)\b(?=\s(?:by|to|with|from)\b)"
    r"|\bthere\b(?!\s(?:is|are|was|were)\b)",
    re.I,
)
# Tools with one of these names end the work.
_ENDS = re.compile(r"final|finish|done|respon|submit|answer", re.I)
_ASKS = re.compile(
    r"\?|^\W*(?:what|who|whom|whose|when|where|which|why|how|is|are|was|were|"
    r"do|does|did|can|could|tell me|find|explain)\b",
    re.I,
)
_FINDS = re.compile(r"get|find|list|search|look|retrieve|fetch|ask|read", re.I)
_GENERAL = words.listed("general")
_EXTRACTS = words.listed("extracts")
_ASKS_FOR_TOOL = re.compile(r"\b(?:use|call|using)\b.{0,30}\btools?\b", re.I)
_FOLLOWS_UP = re.compile(r"\W*(?:and|what about|how about)\b", re.I)
_GOES_ON = frozenset(words.VOCABULARY["goes_on"].split())


class Wish(NamedTuple):
    """A call that the prompt asks for, and the part that does so."""

    tool: Tool
    start: int
    end: int


def choose(
    ask: Ask,
    table: dict[str, Any],
    knows: Callable[[str], bool] = bool,
    say: Callable[[], str] = str,
    again: int = 0,
) -> tuple[Call, ...]:
    """The calls to make now; none if the answer is a text.

    Those that were made since the user's last prompt are not repeated,
    whatever their arguments became. ``table`` has values for parameters
    that a prompt rarely gives; ``knows`` says whether a prompt can be
    answered without a tool; ``say`` is the answer in words, for a tool
    that takes it; ``again`` as in ``Filler``.
    """
    if not ask.tools or ask.choice == "none":
        return ()
    prompt, since = ask.prompt()
    prompt = _stepwise(prompt, ask.tools)
    over = ask.is_over()

    def fill(tool: Tool, text: str) -> str:
        told = say() if _ENDS.search(tool.name) else ""
        filler = _filler(
            tool, text, prompt, table, told, again=again, over=over
        )
        return _json(filler.value())

    results = _Results(since)
    calls: dict[tuple[str, str], None] = {}
    called = {call.name for turn in since for call in turn.calls}
    before = _last_result(ask, ask.turns[: len(ask.turns) - len(since)])
    for tool, text in _wishes(_wanted(ask, prompt, knows), prompt):
        if _EARLIER.search(text) and (before is not None or text != prompt):
            if before is None:
                break  # this one has to wait for it
            text = _EARLIER.sub(_quoted(before).replace("\\", r"\\"), text)
        if not _fills(tool, text, prompt):
            helper = _helper(tool, ask.tools)
            if helper is not None and helper.name not in called:
                tool, text = helper, prompt  # this one has to wait for it
            else:
                text = "\n".join([*results.every(), text])
        key = tool.name, fill(tool, text)
        before = results.take(*key)
        if before is None:
            calls[key] = None
    if not calls and ask.choice != "auto":
        tool = _not_yet_called(ask, prompt, since)
        known = "\n".join([*results.every(), prompt])
        calls[tool.name, fill(tool, known)] = None
    most = MOST if ask.parallel else 1
    chosen = _alone([*calls][:most])
    return tuple(
        Call(name, arguments, _call_id(ask, index))
        for index, (name, arguments) in enumerate(chosen)
    )


def _alone(calls: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """A transfer goes alone: first, or when the other calls are made."""
    if calls and hands_over(calls[0][0]):
        return calls[:1]
    return [call for call in calls if not hands_over(call[0])]


def hand_on(ask: Ask, text: str) -> tuple[Call, ...]:
    """A transfer instead of a text that this agent says again and again."""
    last = [t for t in ask.turns[-2:] if t.role == "assistant" and t.text]
    if len(last) < 2 or last[-1].name or last[-1].text != text:
        return ()
    called = {call.name for turn in ask.turns for call in turn.calls}
    others = (t.name for t in ask.tools if hands_over(t.name))
    free = [name for name in others if name not in called][:1]
    return tuple(Call(name, "{}", _call_id(ask, 0)) for name in free)


class _Results:
    """The results of the calls that were made since the prompt."""

    def __init__(self, since: Iterable[Turn]) -> None:
        texts = {t.call_id: t.text for t in since if t.role == "tool"}
        self._waiting = [
            (call.name, _canonical(call.arguments), texts.get(call.id, ""))
            for turn in since
            for call in turn.calls
        ]
        self._all = [text for _, _, text in self._waiting]

    def take(self, name: str, arguments: str) -> str | None:
        """The result of this call, or else of another one of the tool."""
        same = [made for made in self._waiting if made[0] == name]
        exact = [made for made in same if made[1] == arguments]
        for made in (exact or same)[:1]:
            self._waiting.remove(made)
            return made[2]
        return None

    def every(self) -> list[str]:
        return self._all


def _last_result(ask: Ask, turns: Iterable[Turn]) -> str | None:
    """What a tool found before this prompt."""
    said = [turn for turn in turns if turn.role == "tool"]
    found = [turn.text for turn in said if not ask.is_handoff(turn)]
    return found[-1] if found else None


def _helper(tool: Tool, tools: Iterable[Tool]) -> Tool | None:
    """The tool that finds what another one requires, as its name says."""
    required = tool.parameters.get("required") or ()
    needed = set(words.stems(" ".join(map(str, required))))
    others = (t for t in tools if t is not tool and not hands_over(t.name))
    finders = (t for t in others if _FINDS.match(t.name))
    finds = (t for t in finders if needed & set(words.stems(t.name)))
    return next(finds, None)


def _stepwise(prompt: str, tools: Iterable[Tool]) -> str:
    """A prompt whose sums have one sign each, for tools that take two
    numbers: of "(3 + 5) x 12" becomes "3 + 5, then the result * 12"."""
    names = " ".join(
        n for t in tools for n in t.parameters.get("properties", ())
    )
    if FORMULA & set(words.stems(names)):
        return prompt
    return _SEVERAL.sub(lambda match: _steps(match[0]), prompt)


_SEVERAL = re.compile(
    r"\(*\d[\d.]*\)*(?:\s?[-+*/x\u00d7\u00f7]\s?\(*\d[\d.]*\)*){2,9}"
)
_PYTHON = str.maketrans("x\u00d7\u00f7", "**/")
_OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}


def _steps(formula: str) -> str:
    """The formula in steps, or as it is if it has several ends."""
    steps: list[str] = []

    def operand(node: ast.expr) -> str:
        if isinstance(node, ast.Constant):
            return str(node.value)
        left, right = operand(node.left), operand(node.right)
        if left == right == "the result":
            raise ValueError
        steps.append(f"{left} {_OPERATORS[type(node.op)]} {right}")
        return "the result"

    try:
        operand(ast.parse(formula.translate(_PYTHON), mode="eval").body)
    except (SyntaxError, ValueError, AttributeError, KeyError):
        return formula
    return ", then ".join(steps)


def _canonical(arguments: str) -> str:
    try:
        return _json(json.loads(arguments))
    except ValueError:
        return arguments


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _quoted(result: str) -> str:
    if re.fullmatch(r"\s*-?\d+(?:\.\d+)?\s*", result):
        return result.strip()
    return f"“{' '.join(result.replace('”', ' ').split())}”"


def _call_id(ask: Ask, index: int) -> str:
    mixed = f"{ask.digest} {index}".encode()
    return f"call_{hashlib.blake2b(mixed, digest_size=12).hexdigest()}"


def _wanted(ask: Ask, prompt: str, knows: Callable[[str], bool]) -> list[Tool]:
    """The tools that the prompt or ``tool_choice`` asks for."""
    if ask.choice not in ("auto", "required"):
        return [tool for tool in ask.tools if tool.name == ask.choice][:1]
    wanted = fitting(prompt, ask.tools)
    if not wanted and (
        ask.choice == "required" or _ASKS_FOR_TOOL.search(prompt)
    ):
        wanted = [_best(prompt, ask.tools)]
    if not wanted and _FOLLOWS_UP.match(prompt):
        called = {call.name for turn in ask.turns for call in turn.calls}
        wanted = [tool for tool in ask.tools if tool.name in called][-1:]
    if not wanted and not _ASKS.search(prompt):
        wanted = [t for t in ask.tools if _extracts(t, prompt)][:1]
    if not wanted:
        told = " ".join(t.text for t in ask.turns if t.role == "system")
        fills = not knows(prompt)
        wanted = [t for t in ask.tools if _is_told(t, told, prompt, fills)][:1]
    if not wanted and _ASKS.search(prompt) and not knows(prompt):
        wanted = [tool for tool in ask.tools if _is_general(tool)][:1]
        experts = [tool for tool in ask.tools if hands_over(tool.name)]
        if not wanted and len(experts) > 1 and not ask.is_handed():
            able = [tool for tool in experts if _finds(tool)]
            wanted = [_best(prompt, able or experts)]
    return wanted


def _is_told(tool: Tool, told: str, prompt: str, fills: bool) -> bool:
    """Whether the system message wants a tool called first, or names it
    and the prompt fills it, if ``fills``."""
    if not re.search(rf"\b{re.escape(tool.name)}\b", told):
        return False
    first = rf"(?i)\bfirst (?:call|use)\W+(?:the\W+)?{re.escape(tool.name)}"
    parts = (tool.parameters.get("properties") or {}).values()
    numeric = ("integer", "number")
    numbers = all(as_dict(p).get("type") in numeric for p in parts)
    if fills and numbers and _fills(tool, prompt, prompt):
        return True
    return re.search(first, told) is not None


def _finds(tool: Tool) -> bool:
    """Whether a tool finds answers to questions of any kind."""
    about = words.stems(f"{tool.name} {tool.description[:300]}")
    return not _GENERAL.isdisjoint(about)


def _is_general(tool: Tool) -> bool:
    """Whether a tool takes a question of any kind, and finds answers."""
    parts = tool.parameters.get("properties") or ()
    required = tool.parameters.get("required") or ()
    takes_one = bool(parts) and len(required) <= 1
    return _finds(tool) and takes_one and not hands_over(tool.name)


def _extracts(tool: Tool, prompt: str) -> bool:
    """Whether a tool only takes down what the prompt says."""
    about = set(words.stems(f"{tool.name} {tool.description[:300]}"))
    is_class = re.fullmatch(r"[A-Z][a-z]\w*", tool.name)
    return bool(about & _EXTRACTS or is_class) and _fills(tool, prompt, prompt)


def _not_yet_called(ask: Ask, prompt: str, since: Iterable[Turn]) -> Tool:
    """For a choice that demands a call when all wishes are fulfilled."""
    named = [tool for tool in ask.tools if tool.name == ask.choice]
    called = {call.name for turn in since for call in turn.calls}
    fresh = [tool for tool in ask.tools if tool.name not in called]
    ends = [tool for tool in ask.tools if _ENDS.search(tool.name)]
    return _best(prompt, named or fresh or ends or ask.tools)


def fitting(text: str, tools: Iterable[Tool]) -> list[Tool]:
    """The tools that a text asks for, in their own order.

    A tool is left out if everything that speaks for it speaks for
    another one too, which has more.
    """
    scored = [(tool, *_score(text, tool)) for tool in tools]
    fits = [fit for fit in scored if fit[1] >= ENOUGH]
    if len(fits) > MOST:
        least = sorted((fit[1] for fit in fits), reverse=True)[MOST]
        fits = [fit for fit in fits if fit[1] > least][:MOST] or fits[:MOST]
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
    said, firsts, sums = _said(text)
    name = set(words.stems(tool.name))
    verbs = name & _VERBS if name - _VERBS else set()
    score = 0.0
    evidence = said & (name | tool.about)
    for word in evidence:
        core = word in name and (word not in verbs or word in firsts)
        core = core or word in sums
        score += ENOUGH if core else ENOUGH / 2
    mention = rf"\b{re.escape(tool.name)}" + (
        "" if "_" in tool.name else r"\("
    )
    if re.search(mention, text):
        score += 10 * ENOUGH
        evidence |= {tool.name}
    return score, evidence


@functools.lru_cache(maxsize=256)
def _said(text: str) -> tuple[frozenset[str], ...]:
    """The stems of a text, those that open one of its parts, and those
    that a sum in it stands for."""
    sums = set()
    for _, sign, word in _SIGN.findall(text):
        operation = _SIGNS[(sign or word).lower()]
        sums |= set(words.stems(f"{operation} math calculator expression"))
    text = _SIGN.sub(r"\1 ", text)
    said = sums | set(words.stems(text))
    firsts = {
        spoken[0]
        for start, end in clauses(text)
        if (spoken := words.stems(text[start:end]))
    }
    return frozenset(said), frozenset(firsts), frozenset(sums)


def _wishes(tools: list[Tool], prompt: str) -> Iterator[tuple[Tool, str]]:
    """Each call that the prompt asks for, with the text that fills it."""
    wishes: list[Wish] = []
    for start, end in clauses(prompt):
        if len(wishes) > MOST:
            break
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


def _filler(
    tool: Tool,
    text: str,
    prompt: str,
    table: dict[str, Any],
    otherwise: str = "",
    **turn: Any,
) -> Filler:
    source = Source(text, words.stems(tool.name), listed=lists(prompt))
    schema = {"type": "object", **tool.parameters}
    return Filler(
        schema, source, table, otherwise or source.rest()[:200], **turn
    )
