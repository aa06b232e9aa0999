"""One answer under way: what its reader sees of it."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from fastapi import HTTPException

from service.store import Event

BATCH = 500  # events that are sent at once
FINAL = ("done", "error")
WAITING: set[str] = set()  # runs whose readers have got no words yet


@dataclass
class Part:
    """Words of one model call; its node is "" when they will stay."""

    node: str
    call: UUID | None
    pieces: list[str]


@dataclass
class Run:
    """A question and its answer. A `Listener` says what it hears; readers
    `follow` it."""

    owner: str
    thread: str
    question: str
    grace: float = 0
    id: str = field(default_factory=lambda: uuid4().hex)
    base: int = 0  # the number before its first event
    events: list[Event] = field(default_factory=list)
    kept: int = 0  # how many of them the store has
    parts: list[Part] = field(default_factory=list)
    voice: UUID | None = None  # the model call that speaks
    tools: set[str] = field(default_factory=set)  # calls that were shown
    outcome: str = "complete"  # as its model says
    readers: int = 0
    reads: int = 0  # by other processes, counted
    left: float = math.inf  # when the last reader left
    began: float = field(default_factory=time.monotonic)
    spoke: float = field(default_factory=time.monotonic)
    why: str = ""  # it was cancelled, or "ended"
    frozen: bool = False  # nothing more is said: the process ends
    refused: HTTPException | None = None  # it failed before the first event
    task: asyncio.Task[None] | None = None
    on_begin: Callable[[], None] = lambda: None
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def place(self) -> str:
        """What the agent's memory calls the thread."""
        return f"{self.owner}/{self.thread}"

    @property
    def text(self) -> str:
        """What was said. A sign may have come in two halves; one that has
        lost the other half could be sent to nobody."""
        text = "".join("".join(part.pieces) for part in self.parts)
        return text.encode("utf-16", "surrogatepass").decode(
            "utf-16", "replace"
        )

    @property
    def over(self) -> bool:
        return bool(self.events) and self.events[-1].name in FINAL

    def next(self, name: str, /, **data: Any) -> Event:
        # In ASCII: some clients take U+2028 for the end of a line.
        number = self.base + len(self.events) + 1
        return Event(number, name, json.dumps(data, default=str))

    def emit(self, name: str, /, **data: Any) -> None:
        self.events.append(self.next(name, **data))
        if name != "start" and not self.begun.is_set():
            self.begun.set()
            self.on_begin()
        self.wake()

    def wake(self) -> None:
        self.spoke = time.monotonic()
        self.changed.set()
        self.changed.clear()

    # --- what the listener hears

    def say(self, node: str, call: UUID, text: str) -> None:
        """Show words, unless another model is speaking: `settle` will."""
        if self.frozen or self.voice not in (None, call):
            return
        self.voice = call
        if self.parts and self.parts[-1].call == call:
            self.parts[-1].pieces.append(text)
        else:
            self.parts.append(Part(node, call, [text]))
        self.emit("token", text=text)

    def hush(self, call: UUID) -> None:
        if self.voice == call:
            self.voice = None

    def settle(self, node: str, text: str) -> None:
        """A node has ended with this text: show what was not, and take back
        what it did not mean to say."""
        if self.frozen:
            return
        theirs = [part for part in self.parts if part.node == node]
        shown = "".join("".join(part.pieces) for part in theirs)
        if not text.startswith(shown):
            self.take_back(node)
            shown = ""
        for part in theirs:
            part.node, part.call = "", None
        if late := text[len(shown) :]:
            self.parts.append(Part("", None, [late]))
            self.emit("token", text=late)

    def take_back(self, node: str = "") -> None:
        """Show anew what stays: all but that node's, or all that is done."""
        self.voice = None
        self.parts = [
            part
            for part in self.parts
            if (part.node != node if node else not part.node)
        ]
        self.emit("restart")
        if text := self.text:
            self.emit("token", text=text)

    def use(self, call: str, tool: str) -> None:
        if not self.frozen and (not call or call not in self.tools):
            self.tools.add(call)
            self.emit("tool", name=tool)

    def think(self) -> None:
        if not self.frozen and self.events[-1].name != "thinking":
            self.emit("thinking")

    def ended(self, outcome: str) -> None:
        self.outcome = outcome

    # --- who reads it

    def cancel(self, why: str) -> None:
        """Cancel it at the model, once: for a second time is too late."""
        if not self.why and self.task is not None:
            self.why = why
            self.task.cancel()

    def attach(self) -> None:
        self.readers += 1
        self.left = math.inf

    def detach(self) -> None:
        self.readers -= 1
        if not self.readers:
            self.left = time.monotonic()
            if not self.grace:
                self.cancel("left")

    async def follow(self, number: int) -> AsyncIterator[bytes]:
        """Yield the events after that number; what is late comes at once."""
        number = min(number, len(self.events))
        while True:
            batch = self.events[number : number + BATCH]
            yield b"".join(map(Event.encode, batch)) or b": ping\n\n"
            if self.begun.is_set():
                WAITING.discard(self.id)
            number += len(batch)
            if batch and batch[-1].name in FINAL:
                return
            if number >= len(self.events):
                await self.changed.wait()
