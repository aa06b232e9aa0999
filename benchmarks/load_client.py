"""A light load client: opens many streams and notes when tokens arrive.

It reads one `Load` as JSON from stdin, and prints one JSON object to
stdout. It runs as a process of its own, so that its work never delays
the server, and it reports its own CPU seconds and the delay of its own
clock, so that a reader sees whether the client was the limit.
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
from itertools import pairwise

# A content delta that is not empty. Each one counts as a token.
TOKEN = re.compile(rb'"content": ?"(?!")')
TICK = 0.01  # seconds between two looks at the client's own clock


@dataclass(frozen=True)
class Load:
    """What to send. Times are in seconds.

    `first` and `per_token` are the schedule that the server promises:
    token k is due at request sent + first + k * per_token. Both are 0
    when the server sends as fast as it can.
    """

    port: int
    model: str
    prompt: str
    streams: int
    tokens: int  # expected in each stream
    opened_per_second: float  # 0: all at once
    first: float
    per_token: float
    deadline: float  # whatever is open then is dropped

    def request(self) -> bytes:
        """Return the bytes of one streaming chat request."""
        message = {"role": "user", "content": self.prompt}
        body = json.dumps(
            {"model": self.model, "stream": True, "messages": [message]}
        ).encode()
        return (
            b"POST /v1/chat/completions HTTP/1.1\r\n"
            b"Host: 127.0.0.1\r\n"
            b"Content-Type: application/json\r\n"
            b"Authorization: Bearer benchmark\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body)
        ) + body


class Stream(asyncio.Protocol):
    """One request on one connection, from connect to the last byte."""

    def __init__(self, load: Load, request: bytes) -> None:
        self.load = load
        self.request = request
        self.sent = 0.0
        self.arrivals = array("d")
        self.rest = b""
        self.status = b""
        self.outcome = "deadline"
        self.transport: asyncio.Transport | None = None
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Send the request and start this stream's clock."""
        self.transport = transport
        self.sent = time.perf_counter()
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        """Count the tokens in `data`; close after the last chunk."""
        now = time.perf_counter()
        self.status = self.status or data[9:12]
        data = self.rest + data
        cut = data.rfind(b"\n\n")
        found = len(TOKEN.findall(data, 0, max(cut, 0)))
        self.arrivals.extend([now] * found)
        self.rest = data[max(cut, 0) :]
        if self.rest.endswith(b"0\r\n\r\n") and self.transport:
            whole = len(self.arrivals) == self.load.tokens
            self.outcome = "complete" if whole else "wrong length"
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Keep why the stream ended, if it did not end well."""
        if self.outcome == "deadline":
            status = self.status.decode() or "no answer"
            self.outcome = f"closed early ({status})"
        if not self.closed.done():
            self.closed.set_result(None)


async def watch_own_clock(delays: array) -> None:
    """Append how late this process wakes up, in seconds, for ever."""
    while True:
        before = time.perf_counter()
        await asyncio.sleep(TICK)
        delays.append(time.perf_counter() - before - TICK)


async def open_stream(load: Load, request: bytes, number: int) -> Stream:
    """Open stream `number` when its turn comes, and read it to the end."""
    if load.opened_per_second:
        await asyncio.sleep(number / load.opened_per_second)
    loop = asyncio.get_running_loop()
    stream = Stream(load, request)
    try:
        await loop.create_connection(lambda: stream, "127.0.0.1", load.port)
        await stream.closed
    except OSError as error:
        stream.outcome = type(error).__name__
    except asyncio.CancelledError:
        if stream.transport:
            stream.transport.abort()
    return stream


def percentiles(values: list[float]) -> dict[str, float]:
    """Return p50 and p99 of `values` (seconds) in milliseconds."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return {
        name: round(1000 * ordered[int(last * share)], 2) if ordered else 0.0
        for name, share in (("p50", 0.5), ("p99", 0.99))
    }


async def run(load: Load) -> dict[str, object]:
    """Carry out `load`; return counts, rates (1/s) and times (ms, s)."""
    request = load.request()
    delays = array("d")
    clock = asyncio.create_task(watch_own_clock(delays))
    cpu, began = time.process_time(), time.perf_counter()
    tasks = [
        asyncio.create_task(open_stream(load, request, number))
        for number in range(load.streams)
    ]
    _, late = await asyncio.wait(tasks, timeout=load.deadline)
    for task in late:
        task.cancel()
    streams = await asyncio.gather(*tasks)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - began
    clock.cancel()

    tokens = sum(len(stream.arrivals) for stream in streams)
    sent = min((s.sent for s in streams if s.sent), default=began)
    last = max((s.arrivals[-1] for s in streams if s.arrivals), default=sent)
    lateness = [
        at - (stream.sent + load.first + k * load.per_token)
        for stream in streams
        for k, at in enumerate(stream.arrivals)
    ]
    gaps = [
        two - one - load.per_token
        for stream in streams
        for one, two in pairwise(stream.arrivals)
    ]
    return {
        "outcomes": Counter(stream.outcome for stream in streams),
        "tokens": tokens,
        "tokens_per_second": tokens / (last - sent) if tokens else 0.0,
        "wall": wall,
        "lateness": percentiles(lateness),
        "gaps": percentiles(gaps),
        "client_cpu": cpu,
        "client_delay": percentiles(list(delays)),
    }


def main() -> None:
    """Read the load, run it on the fastest loop at hand, print."""
    load = Load(**json.load(sys.stdin))
    gc.disable()  # a bounded run; a collection would look like lateness
    try:
        from uvloop import run as run_loop
    except ImportError:  # uvloop does not exist on Windows
        run_loop = asyncio.run
    json.dump(run_loop(run(load)), sys.stdout)


if __name__ == "__main__":
    main()
