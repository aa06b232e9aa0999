"""How much work one request may be, since all wait for one process.

What would take longer is cut short: a schema that requires itself is
filled to some depth only. Work stops when nobody waits for its answer.
"""

from __future__ import annotations

from contextvars import ContextVar

MOST = 6000  # parts of schemas and of lists that one request looks at


class Work:
    """What is left to one request."""

    def __init__(self) -> None:
        self._left = MOST
        self._stopped = False

    def spend(self) -> bool:
        """Take one part; whether there was one left."""
        self._left -= 1
        return self._left >= 0

    def refill(self) -> None:
        """A little more, for an answer without the text."""
        if not self._stopped:
            self._left = MOST // 3

    def stop(self) -> None:
        """Nobody waits any more; may be called from another thread."""
        self._stopped = True
        self._left = 0


current: ContextVar[Work | None] = ContextVar("work", default=None)


def mine() -> Work:
    """The work of the request that is being answered here."""
    return current.get() or Work()
