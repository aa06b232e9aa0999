"""What a client asked and what it is told, whichever API it speaks."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from workshop.practice import words

ROLES = {
    "developer": "system",
    "system": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
LOOK_AT = 1000  # characters at each end of a long prompt


class Problem(Exception):
    """A request that is answered with OpenAI's error object."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        kind: str = "invalid_request_error",
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        self.body = {
            "error": {
                "message": message,
                "type": kind,
                "param": param,
                "code": code,
            }
        }


@dataclass(frozen=True)
class Call:
    """A tool call; ``arguments`` is a JSON text."""

    name: str
    arguments: str
    id: str


@dataclass(frozen=True)
class Turn:
    """A message. ``call_id`` names the call that a tool turn answers;
    ``name`` is the name of who speaks, where a client sends it."""

    role: str
    text: str
    calls: tuple[Call, ...] = ()
    call_id: str = ""
    name: str = ""


@dataclass(frozen=True)
class Tool:
    """A function on offer; ``parameters`` is a JSON schema."""

    name: str
    description: str
    parameters: dict[str, Any]

    @functools.cached_property
    def about(self) -> frozenset[str]:
        """What its description and its parameters speak of, as stems."""
        parts = json.dumps(self.parameters.get("properties", {}))[:LOOK_AT]
        return frozenset(words.stems(f"{self.description[:300]} {parts}"))


@dataclass(frozen=True)
class Ask:
    """A request for an answer.

    ``choice`` is auto, none, required or the one tool that must be
    called. ``schema`` is the JSON schema that the text must follow; an
    empty one means any JSON object. ``limit`` is the most tokens to send.
    """

    turns: tuple[Turn, ...]
    tools: tuple[Tool, ...] = ()
    choice: str = "auto"
    parallel: bool = True
    schema: dict[str, Any] | None = None
    limit: int | None = None
    stop: tuple[str, ...] = ()

    def prompt(self) -> tuple[str, tuple[Turn, ...]]:
        """What the user said last, and the turns since.

        Of a long text only both ends count, and of spaces only one.
        Where no user speaks, the first turn stands for it. One that
        speaks under another name than the first is an agent, which
        reports what it did.
        """
        users = [i for i, t in enumerate(self.turns) if t.role == "user"]
        own = self.turns[users[0]].name if users else ""
        mine = [i for i in users if self.turns[i].name in ("", own)]
        at = mine[-1] if mine else 0
        said = self.turns[at].text
        if len(said) > 2 * LOOK_AT:
            said = f"{said[:LOOK_AT]}\n{said[-LOOK_AT:]}"
        said = re.sub(r"\s*\n\s*", "\n", re.sub(r"[^\S\n]+", " ", said))
        return said, self.turns[at + 1 :]

    @functools.cached_property
    def prompt_tokens(self) -> int:
        """The length of the prompt, as it is billed."""
        return sum(words.count(turn.text) for turn in self.turns)

    def is_over(self) -> bool:
        """Whether somebody has answered the user's last prompt."""
        _, since = self.prompt()
        return any(
            turn.role != "system" and not turn.calls
            for turn in since
            if not self.is_handoff(turn)
        )

    def is_handed(self) -> bool:
        """Whether the word was given to another agent since the prompt."""
        _, since = self.prompt()
        return any(self.is_handoff(turn) for turn in since)

    def is_handoff(self, turn: Turn) -> bool:
        """Whether a turn only says who speaks next."""
        told = turn.role != "user" and bool(_HANDED_OVER.match(turn.text))
        return told or (bool(turn.call_id) and turn.call_id in self._handed)

    @functools.cached_property
    def _handed(self) -> frozenset[str]:
        """The ids of the calls that gave the word to another agent."""
        calls = [call for turn in self.turns for call in turn.calls]
        return frozenset(c.id for c in calls if hands_over(c.name))

    @functools.cached_property
    def digest(self) -> str:
        """32 characters that are the same whenever the same is asked."""
        asked = repr((self.turns, self.tools, self.choice, self.schema))
        data = asked.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(data, digest_size=16).hexdigest()


_HANDED_OVER = re.compile(
    r"\W*(?:successfully )?(?:transferr(?:ed|ing)|hand(?:ed|ing) (?:off|over))"
    r"\b.{0,80}\Z",
    re.I | re.S,
)


# Tools with one of these names give the word to another agent.
_HANDS_OVER = re.compile(
    r"(?:transfer|hand_?off|handover|delegate)(?:_|\b)", re.I
)


def hands_over(name: str) -> bool:
    """Whether a tool of that name gives the word to another agent."""
    return bool(_HANDS_OVER.match(name))


@dataclass(frozen=True)
class Reply:
    """The answer: calls, or a text, in the pieces that are sent.

    ``finish`` is ``stop``, or why it ends early: ``length`` or
    ``content_filter``. ``thoughts`` come before it. With ``refusal`` the
    text is one; with ``doubled`` a call is streamed with its name twice.
    """

    tokens: list[str] = field(default_factory=list)
    calls: tuple[Call, ...] = ()
    finish: str = "stop"
    thoughts: list[str] = field(default_factory=list)
    refusal: bool = False
    doubled: bool = False


@dataclass(frozen=True)
class Script:
    """An answer on the wire.

    ``chunks`` holds the events of each token, and at the end those that
    close the answer; one that is not streamed is just its last chunk.
    The first ``thoughts`` tokens are its reasoning. ``failure`` writes
    what comes instead of the rest if the model fails after so many tokens.
    ``ids`` are those of its items, and at last its own.
    """

    chunks: list[bytes]
    tokens: int
    streamed: bool
    thoughts: int = 0
    failure: Callable[[int], bytes] = lambda sent: b""
    ids: tuple[str, ...] = ()


FAILURE = (
    "The server had an error while processing your request (a fault that "
    "was asked for)."
)


def failure_body() -> dict[str, Any]:
    """The error object of a model that fails on the way."""
    return Problem(
        500, FAILURE, kind="server_error", code="server_error"
    ).body["error"]


def text_of(content: Any) -> str:
    """The text of a message: a string, or a list of content blocks.

    A block without text leaves its type behind, as in ``[image_url]``.
    """
    if content is None or isinstance(content, str):
        return content or ""
    parts = [
        block.get("text", block.get("refusal", f"[{block['type']}]"))
        for block in content
    ]
    return "\n".join(parts)
