"""What a second session waits while a first one keeps the server busy.

    python benchmarks/second_session.py

prints, for each kind of heavy request, how long the answer to "Hello" took
in another session: the median and the slowest, in milliseconds, beside
those on an idle server. All traffic stays on this machine.
"""

import json
import statistics
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from practice_client import chat, fast_model, send
from test_practice_load import HEAVY, schema
from test_practice_schemas import doubles, requires_itself

SECONDS = 4.0  # of each load
AT_ONCE = 4  # heavy requests
KINDS = {
    **HEAVY,
    "2,048 embeddings": (
        "/v1/embeddings",
        {"model": "e", "input": ["a few words"] * 2048},
    ),
    "a schema that requires itself 40 times": schema(requires_itself(40)),
    "a schema that doubles 60 times": schema(doubles(60)),
    "a prompt of 2 MB": (
        "/v1/chat/completions",
        chat("a word, “and another: " * 100_000),
    ),
}


def waits(seconds: float) -> list[float]:
    """Ask in a session of its own; the milliseconds of each answer."""
    model = fast_model()
    took = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begin = time.perf_counter()
        send(model, "POST", "/v1/chat/completions", chat("Hello"))
        took.append(1000 * (time.perf_counter() - begin))
    return took


def keep_busy(path: str, body: dict, ended: threading.Event) -> None:
    """Send heavy requests, one after the other."""
    model = fast_model()
    model.pace(context_tokens=10_000_000)
    data = json.dumps(body).encode()
    while not ended.is_set():
        send(model, "POST", path, data)


def main() -> None:
    """Print the table."""
    rows = [("nothing", waits(1.0))]
    for kind, (path, body) in KINDS.items():
        ended = threading.Event()
        threads = [
            threading.Thread(target=keep_busy, args=(path, body, ended))
            for _ in range(AT_ONCE)
        ]
        for thread in threads:
            thread.start()
        rows.append((kind, waits(SECONDS)))
        ended.set()
        for thread in threads:
            thread.join()
    print(f"| {AT_ONCE} sessions at once send | median, ms | slowest, ms |")
    print("|---|---:|---:|")
    for kind, took in rows:
        print(f"| {kind} | {statistics.median(took):.0f} | {max(took):.0f} |")


if __name__ == "__main__":
    main()
