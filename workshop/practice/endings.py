"""How an answer ends: at its limit, or as a fault wants it."""

from __future__ import annotations

import dataclasses

from workshop.practice import words
from workshop.practice.ask import Ask, Call, Reply
from workshop.practice.sessions import Fault

REFUSAL = "I'm sorry, but I can't help with that."
THOUGHTS = (
    "The question is short. I read it twice, leave out what nobody asked, "
    "and answer in one sentence."
)
UNKNOWN = "look_it_up"  # a tool that nobody offers


def ended(reply: Reply, ask: Ask, fault: Fault | None) -> Reply:
    """The reply within the ask's limit, and with its fault if it has one."""
    if fault is not None:
        reply = _bent(reply, ask, fault)
    if ask.limit is None or length(reply) <= ask.limit:
        return reply
    return cut(reply, ask.limit, "length")


def length(reply: Reply) -> int:
    """How many tokens a reply has, arguments and reasoning included."""
    arguments = sum(words.count(call.arguments) for call in reply.calls)
    return len(reply.thoughts) + len(reply.tokens) + arguments


def cut(reply: Reply, tokens: int, finish: str) -> Reply:
    """The first tokens of a reply; a call may lose half its arguments."""
    thoughts = reply.thoughts[:tokens]
    tokens -= len(thoughts)
    text = reply.tokens[:tokens]
    tokens -= len(text)
    calls = []
    for call in reply.calls:
        kept = words.tokens(call.arguments)[:tokens]
        tokens -= len(kept)
        if kept:
            calls.append(dataclasses.replace(call, arguments="".join(kept)))
    return dataclasses.replace(
        reply,
        thoughts=thoughts,
        tokens=text,
        calls=tuple(calls),
        finish=finish,
    )


def _bent(reply: Reply, ask: Ask, fault: Fault) -> Reply:
    match fault.kind:
        case "length" | "content_filter" as finish:
            return cut(reply, fault.comes_after(length(reply)), finish)
        case "refusal":
            return Reply(words.tokens(REFUSAL), refusal=True)
        case "unknown_tool":
            return Reply(calls=_unknown(reply, ask))
        case "doubled_name":
            return dataclasses.replace(reply, doubled=True)
        case "reasoning":
            return dataclasses.replace(reply, thoughts=words.tokens(THOUGHTS))
    return reply  # something happens to it on the way


def _unknown(reply: Reply, ask: Ask) -> tuple[Call, ...]:
    """The reply's calls, or one, of tools that are not on offer."""
    known = {tool.name for tool in ask.tools}
    calls = reply.calls or (Call(UNKNOWN, "{}", f"call_{ask.digest[:24]}"),)
    unknown = []
    for call in calls:
        name = call.name
        while name in known:
            name = f"{name[:60]}_v2"
        unknown.append(dataclasses.replace(call, name=name))
    return tuple(unknown)
