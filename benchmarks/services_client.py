"""A light client of streaming endpoints: many visitors, and what they see.

It reads one `Visit` as JSON from stdin, and prints one JSON object to
stdout. It runs as a process of its own, on raw sockets, so that its work
never delays the server.
"""

import asyncio
import gc
import json
import re
import sys
import time
from array import array
from collections import Counter
from dataclasses import dataclass
from itertools import count, cycle, islice
from statistics import median
from urllib.parse import quote

from load_client import watch_own_clock

WORDS = ["one", "two", "six", "ten"]  # each one is a token of the model
TOKENS = 150  # in each answer
FIRST, PER_TOKEN = 0.25, 0.02  # seconds: the pace of the model
WHOLE = FIRST + (TOKENS - 1) * PER_TOKEN  # seconds: an answer at best
WORD = re.compile(rb"\b(?:" + "|".join(WORDS).encode() + rb")\b")
END = b"0\r\n\r\n"  # of a chunked answer
CHECK = 0.05  # seconds between two looks at what the visitors see
WINDOW = 1.0  # seconds that such a look goes back


@dataclass(frozen=True)
class Visit:
    """Who asks what, and for how long. Times are in seconds."""

    port: int
    path: str  # {message}: in the address; else as JSON. {ask}: a number
    visitors: int
    asks: int  # how often each visitor asks, one after the other; 0: on and on
    deadline: float  # whatever is open then is dropped
    every: float = 0.0  # between two arrivals of visitors; 0: all at once
    enough: float = 0.0  # stop when the first token takes so long; 0: never

    def words(self) -> list[str]:
        """Return the answer that each visitor wants."""
        return list(islice(cycle(WORDS), TOKENS))

    def request(self, ask: int) -> bytes:
        """Return the bytes of one request."""
        message = "Reply with exactly: " + " ".join(self.words())
        body = b""
        if "{message}" not in self.path:
            body = json.dumps({"message": message}).encode()
        path = self.path.format(message=quote(message), ask=ask)
        return (
            b"POST %s HTTP/1.1\r\n"
            b"Host: 127.0.0.1\r\n"
            b"Content-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % (path.encode(), len(body))
        ) + body


class Answer(asyncio.Protocol):
    """One request on one connection, from connect to the last byte."""

    def __init__(self, visit: Visit, request: bytes) -> None:
        self.request = request
        self.wanted = [word.encode() for word in visit.words()]
        self.asked = self.first = self.last = 0.0
        self.words: list[bytes] = []
        self.rest = b""
        self.status = b""
        self.outcome = "deadline"
        self.transport: asyncio.Transport | None = None
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Send the request."""
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        """Note the words in `data`; close after the last chunk."""
        self.status = self.status or data[9:12]
        data = self.rest + data
        cut = data.rfind(b"\n") + 1
        if words := WORD.findall(data, 0, cut):
            self.last = time.perf_counter()
            self.first = self.first or self.last
            self.words += words
        self.rest = data[cut:]
        if data.endswith(END) and self.transport:
            whole = self.status == b"200" and self.words == self.wanted
            self.outcome = "whole" if whole else "wrong"
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Keep that the answer ended, if it did not end well."""
        if self.outcome == "deadline":
            self.outcome = f"cut ({self.status.decode() or 'no answer'})"
        if not self.closed.done():
            self.closed.set_result(None)


class Crowd:
    """The visitors of one `Visit` and their answers."""

    def __init__(self, visit: Visit) -> None:
        self.visit = visit
        self.numbers = count()
        self.answers: list[Answer] = []
        self.here = 0  # visitors that have arrived

    async def visitor(self, number: int) -> None:
        """Arrive, and ask again and again."""
        await asyncio.sleep(number * self.visit.every)
        self.here += 1
        loop = asyncio.get_running_loop()
        asked = 0
        while not self.visit.asks or asked < self.visit.asks:
            asked += 1
            request = self.visit.request(next(self.numbers))
            answer = Answer(self.visit, request)
            self.answers.append(answer)
            answer.asked = time.perf_counter()
            try:
                await loop.create_connection(
                    lambda answer=answer: answer, "127.0.0.1", self.visit.port
                )
                await answer.closed
            except OSError as error:
                answer.outcome = type(error).__name__
                return
            except asyncio.CancelledError:
                if answer.transport:
                    answer.transport.abort()
                raise

    async def on_watch(self) -> None:
        """Return when first tokens take longer than `visit.enough`.

        The median of those asked for in the last `WINDOW` counts, with the
        time that they have waited so far.
        """
        while True:
            await asyncio.sleep(CHECK)
            now = time.perf_counter()
            waits = [
                (answer.first or now) - answer.asked
                for answer in self.answers
                if now - answer.asked < WINDOW
            ]
            if len(waits) >= 5 and median(waits) > self.visit.enough:
                return


def percentiles(values: list[float]) -> dict[str, float]:
    """Return p50 and p95 of `values`; nothing for nothing."""
    ordered = sorted(values)
    last = len(ordered) - 1
    shares = (("p50", 0.5), ("p95", 0.95))
    return {name: ordered[round(last * s)] for name, s in shares if ordered}


async def run(visit: Visit) -> dict[str, object]:
    """Carry out `visit`; return counts, rates (1/s) and times (s)."""
    delays = array("d")
    clock = asyncio.create_task(watch_own_clock(delays))
    cpu, began = time.process_time(), time.perf_counter()
    crowd = Crowd(visit)
    tasks = [
        asyncio.create_task(crowd.visitor(number))
        for number in range(visit.visitors)
    ]
    waits = set(tasks)
    if visit.enough:
        waits = {asyncio.create_task(crowd.on_watch())}
    await asyncio.wait(waits, timeout=visit.deadline)
    here = crowd.here
    wall = time.perf_counter() - began
    for task in {*tasks, *waits}:
        task.cancel()
    await asyncio.gather(*tasks, *waits, return_exceptions=True)
    cpu = time.process_time() - cpu
    clock.cancel()

    answers = [answer for answer in crowd.answers if answer.words]
    whole = [answer for answer in answers if answer.outcome == "whole"]
    last = max((answer.last for answer in answers), default=began)
    tokens = sum(len(answer.words) for answer in answers)
    return {
        "outcomes": Counter(answer.outcome for answer in crowd.answers),
        "here": here,
        "tokens": tokens,
        "tokens_per_second": tokens / (last - began) if tokens else 0.0,
        "first": percentiles([a.first - a.asked for a in answers]),
        "end": percentiles([a.last - a.asked for a in whole]),
        "wall": wall,
        "client_cpu": cpu,
        "client_delay": percentiles(list(delays)),
    }


def main() -> None:
    """Read the visit, run it on the fastest loop at hand, print."""
    visit = Visit(**json.load(sys.stdin))
    gc.disable()  # a bounded run; a collection would look like lateness
    try:
        from uvloop import run as run_loop
    except ImportError:  # uvloop does not exist on Windows
        run_loop = asyncio.run
    json.dump(run_loop(run(visit)), sys.stdout)


if __name__ == "__main__":
    main()
