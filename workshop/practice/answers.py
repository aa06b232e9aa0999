"""The reply to an ask."""

from __future__ import annotations

from workshop.practice import words
from workshop.practice.ask import Ask, Reply


def reply(ask: Ask) -> Reply:
    said = [turn.text for turn in ask.turns if turn.role == "user"]
    quote = " ".join(said[-1].split())[:40] if said else ""
    return Reply(words.tokens(f"I am the practice model. You said: {quote}"))
