"""Sessions: what one user of the server counts, breaks and slows down.

A session is named by the bearer token of a request, so that a class can
share one server and nobody sees the counts of somebody else.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any


@dataclass
class Meter:
    """Counts of the requests to the model. Control routes never count."""

    requests: int = 0
    in_flight: int = 0
    peak_in_flight: int = 0
    tokens_sent: int = 0
    cut_off: int = 0

    def reset(self) -> None:
        """Start again; the requests still being served stay in flight."""
        self.requests = self.tokens_sent = self.cut_off = 0
        self.peak_in_flight = self.in_flight


class Flight:
    """One request that is being served, counted on several meters."""

    def __init__(self, meters: Iterable[Meter]) -> None:
        self._meters = tuple(meters)
        self._landed = False
        for meter in self._meters:
            meter.requests += 1
            meter.in_flight += 1
            meter.peak_in_flight = max(meter.peak_in_flight, meter.in_flight)

    def sent(self, tokens: int) -> None:
        for meter in self._meters:
            meter.tokens_sent += tokens

    def land(self, cut_off: bool = False) -> None:
        """The request is over; only the first call counts.

        ``cut_off`` says that the client left before the end.
        """
        if self._landed:
            return
        self._landed = True
        for meter in self._meters:
            meter.in_flight -= 1
            meter.cut_off += cut_off


@dataclass(frozen=True)
class Pace:
    """When tokens are due; all times in seconds from the request's start.

    ``jitter`` delays each token by up to that share of ``per_token``. It
    is drawn from ``seed`` and the request, so it repeats, and it does not
    add up. A prompt of more than ``context_tokens`` is refused; the
    default is that of gpt-4o.
    """

    ttft: float = 0.25
    per_token: float = 0.04
    jitter: float = 0.0
    seed: int = 0
    context_tokens: int = 128_000

    def __post_init__(self) -> None:
        for name in ("ttft", "per_token", "jitter"):
            _need_number(name, getattr(self, name))
        if self.jitter > 1:
            raise ValueError("'jitter' must be between 0 and 1.")
        for name in ("seed", "context_tokens"):
            if type(getattr(self, name)) is not int:
                raise ValueError(f"{name!r} must be a whole number.")
        if self.context_tokens < 1:
            raise ValueError("'context_tokens' must be 1 or more.")

    def changed(self, values: dict[str, Any]) -> Pace:
        """This pace with some values replaced; ValueError if one is bad."""
        _need_known("pace", values, (f.name for f in fields(self)))
        return replace(self, **values)

    def schedule(
        self,
        tokens: int,
        request: str,
        thoughts: int = 0,
        thinking: float | None = None,
    ) -> list[float]:
        """When each token is due, and at last when the answer ends.

        The first ``thoughts`` tokens are a reasoning, which takes
        ``thinking`` seconds; without them it has the pace of the rest.
        """
        due = [self.ttft + k * self.per_token for k in range(tokens + 1)]
        if thoughts and thinking is not None:
            later = thinking - thoughts * self.per_token
            due = [moment + later for moment in due]
            for k in range(thoughts):
                due[k] = self.ttft + k * thinking / thoughts
        if self.jitter:
            draw = random.Random(f"{self.seed} {request}").random
            spread = self.jitter * self.per_token
            due = [moment + spread * draw() for moment in due]
        return due


FAULTS = {
    # instead of an answer
    "rate_limit": ("retry_after",),
    "server_error": (),
    "refuse": (),
    # on the way
    "cut": ("after_tokens",),
    "stall": ("after_tokens", "seconds"),
    "error_event": ("after_tokens",),
    "no_done": ("after_tokens",),
    # in the answer
    "length": ("after_tokens",),
    "content_filter": ("after_tokens",),
    "refusal": (),
    "unknown_tool": (),
    "doubled_name": (),
    "reasoning": ("seconds",),
}
ON_THE_WAY = ("cut", "stall", "error_event", "no_done")


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request.

    ``retry_after`` and ``seconds`` are seconds; a stall without
    ``seconds`` lasts until the client leaves. ``after_tokens`` is 0 for
    a cut and a stall, else half the answer, where it is not given.
    """

    kind: str
    after_tokens: int | None = None
    retry_after: float = 1.0
    seconds: float | None = None

    def comes_after(self, tokens: int) -> int:
        """How many of an answer's tokens come before it."""
        if self.after_tokens is None:
            return 0 if self.kind in ("cut", "stall") else tokens // 2
        return min(self.after_tokens, tokens)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Fault:
        """Check outside input; ValueError says what is wrong with it."""
        kind = values.get("kind")
        if not isinstance(kind, str) or kind not in FAULTS:
            raise ValueError(f"'kind' must be one of: {', '.join(FAULTS)}.")
        _need_known(kind, values, ("kind", *FAULTS[kind]))
        for name in FAULTS[kind]:
            if name in values:
                _need_number(name, values[name])
        if type(values.get("after_tokens", 0)) is not int:
            raise ValueError("'after_tokens' must be a whole number.")
        return cls(**values)

    @classmethod
    def from_header(cls, text: str) -> Fault:
        """Read ``cut;after_tokens=3``; ValueError as in ``from_json``."""
        return cls.from_json(fault_values(text))


def fault_values(text: str) -> dict[str, Any]:
    """``cut;after_tokens=3`` as a JSON object; ValueError if it is none."""
    kind, *details = [part.strip() for part in text.split(";")]
    values: dict[str, Any] = {"kind": kind}
    for detail in details:
        name, _, number = detail.partition("=")
        whole = number.strip().isdecimal()
        values[name.strip()] = int(number) if whole else float(number)
    return values


class FaultQueue:
    """Faults that wait for the next requests, first in, first out."""

    def __init__(self) -> None:
        self._waiting: list[list[Any]] = []  # [fault, times], ...

    def add(self, values: dict[str, Any]) -> int:
        """Queue ``values`` for the next ``times`` requests (1 by default).

        Return how many faults wait now; ValueError if the input is bad.
        """
        values = dict(values)
        times = values.pop("times", 1)
        if type(times) is not int or times < 1:
            raise ValueError("'times' must be a whole number from 1.")
        self._waiting.append([Fault.from_json(values), times])
        return sum(times for _, times in self._waiting)

    def next(self) -> Fault | None:
        """Take the next fault, if one waits."""
        if not self._waiting:
            return None
        entry = self._waiting[0]
        entry[1] -= 1
        if not entry[1]:
            del self._waiting[0]
        return entry[0]

    def clear(self) -> None:
        self._waiting.clear()


class Repeats:
    """How often a session asked the same, for graphs that loop on a choice.

    Only what was answered counts: requests at the same time are no loop.
    """

    PATIENCE = 12  # answers that are the same, before a choice turns
    KEPT = 500  # requests that are remembered

    def __init__(self) -> None:
        self._answered: dict[str, int] = {}

    def turns(self, request: str) -> int:
        """How many times choices have to turn for this request."""
        return self._answered.get(request, 0) // self.PATIENCE

    def answered(self, request: str) -> None:
        self._answered[request] = self._answered.pop(request, 0) + 1
        if len(self._answered) > self.KEPT:
            del self._answered[next(iter(self._answered))]


MOST_KEPT = 200  # responses and their items


@dataclass
class Session:
    """The state behind one bearer token; ``pace`` None is the server's.

    ``responses`` are those that a later one may go on from.
    """

    meter: Meter = field(default_factory=Meter)
    faults: FaultQueue = field(default_factory=FaultQueue)
    repeats: Repeats = field(default_factory=Repeats)
    responses: dict[str, Any] = field(default_factory=dict)
    pace: Pace | None = None

    def keep(self, responses: dict[str, Any]) -> None:
        """Keep these responses, and forget the oldest."""
        self.responses |= responses
        while len(self.responses) > MOST_KEPT:
            del self.responses[next(iter(self.responses))]


class Sessions:
    """All sessions, and ``whole``: what concerns the server as a whole."""

    def __init__(self, pace: Pace) -> None:
        self.whole = Session(pace=pace)
        self._by_token: dict[str, Session] = {}

    def get(self, token: str) -> Session:
        """The session of a bearer token; no token is the whole server."""
        if not token:
            return self.whole
        return self._by_token.setdefault(token, Session())

    def pace(self, token: str) -> Pace:
        return self.get(token).pace or self.whole.pace

    def reset_meter(self, token: str) -> Meter:
        """Reset one meter, or without a token every meter; return it."""
        meter = self.get(token).meter
        everybody = () if token else self._by_token.values()
        for session in everybody:
            session.meter.reset()
        meter.reset()
        return meter

    def take_off(self, token: str) -> Flight:
        """Count a request that starts now, also on the whole server."""
        meters = {id(m): m for m in (self.get(token).meter, self.whole.meter)}
        return Flight(meters.values())

    def next_fault(self, token: str) -> Fault | None:
        return self.get(token).faults.next() or self.whole.faults.next()


def _need_number(name: str, value: Any) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value < 1e6:
        raise ValueError(f"{name!r} must be a number, 0 or more.")


def _need_known(
    what: str, values: dict[str, Any], known: Iterable[str]
) -> None:
    known = list(known)
    unknown = [name for name in values if name not in known]
    if unknown:
        raise ValueError(
            f"{what!r} does not take {unknown[0]!r}, only: {', '.join(known)}."
        )
