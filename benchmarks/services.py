"""Measure the finished service side by side with what people write first.

    python benchmarks/services.py

starts each endpoint on uvicorn, in turns, with the practice model as its
upstream in another process, and writes benchmarks/services.md. All traffic
stays on this machine, and every load is bounded in count and in time.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from itertools import count
from pathlib import Path

from mock_servers import (
    allow_open_files,
    busy_seconds,
    cpu_seconds,
    family,
    free_port,
    megabytes,
    wait_for_200,
)
from services_client import FIRST, PER_TOKEN, WHOLE, Visit
from services_report import NOTES, SERVICE, Results, page

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))
from tests.postgres import postgres  # noqa: E402

PYTHON = sys.executable
LIMIT = 60.0  # seconds for a load
SHORT = 10.0  # seconds for a load that would take too long
GLANCE = 0.1  # seconds between two looks at a server's memory
ALMOST = 1.2  # times as long as alone: still as if alone
ARRIVALS = 0.2  # seconds between two arrivals on the way to twice the wait


@dataclass(frozen=True)
class Server:
    """An app, how uvicorn runs it, and where its visitors ask."""

    name: str
    app: str
    path: str
    folder: Path = HERE
    options: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)
    limit: float = LIMIT
    rounds: int = 0  # at most; 0: all


ASK = "?message={message}"
RUNS = "/threads/{ask}/runs"
SOLUTIONS = ROOT / "solutions"
POSTGRES = {"SERVICE_DB": ""}  # `Bench.running` puts an empty one there
RIVALS = [
    Server(NOTES, "endpoints:app", f"/chat{ASK}"),
    Server("sync generator, `def`", "endpoints:app", f"/sync{ASK}"),
    Server(SERVICE, "service:app", RUNS, SOLUTIONS),
    Server(
        f"{SERVICE}, PostgreSQL",
        "service:app",
        RUNS,
        SOLUTIONS,
        settings=POSTGRES,
    ),
    Server(
        "sync `stream()` in `async def`",
        "endpoints:app",
        f"/sync-in-async{ASK}",
        limit=SHORT,
        rounds=1,
    ),
]
ESSENTIAL = [RIVALS[0], *RIVALS[2:4]]
STEPS = [  # of service_without.py
    "dict chunks",
    "calm gc",
    "`stream_chunk_timeout=None`",
    "aiohttp",
    "callback",
]
LAYERS = {  # path below /layers: what it is
    "asgi/": "words on a timer, plain ASGI",
    "timed": "the same as `StreamingResponse` of FastAPI",
    "sse": "the same as `EventSourceResponse` of FastAPI",
    "http": "HTTP client (httpx2) and `json.loads` for each chunk",
    "sdk-dicts": "OpenAI SDK, chunks as dicts",
    "sdk": "OpenAI SDK, as it comes",
    "chat-model": "`ChatOpenAI.astream`",
    "agent": "`create_agent`, `astream`: the notes' stack",
    "lean-agent": "the same with dict chunks, no time limit a chunk",
    "events": "the same, read with `astream_events`",
    "aiohttp-agent": "the same, read with `astream`, on aiohttp",
    "callback": "the same on aiohttp, read by a callback: the service's stack",
}


@contextmanager
def process(command: list[str], url: str, **settings: str) -> Iterator[int]:
    """Run a server; yield its pid when `url` answers."""
    server = subprocess.Popen(
        command,
        env={**os.environ, **settings},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    )
    try:
        wait_for_200(url, server)
        yield server.pid
    finally:
        if server.poll() is None:
            for each in family(server.pid):
                each.kill()
        server.wait()


class Bench:
    """One practice model, and servers that ask it."""

    def __init__(self, stack: ExitStack) -> None:
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port = free_port()
        self.model = f"http://127.0.0.1:{port}/v1"
        command = [PYTHON, "-m", "workshop.practice", "--port", str(port)]
        command += ["--ttft", str(FIRST), "--per-token", str(PER_TOKEN)]
        self.model_pid = stack.enter_context(
            process(command, f"{self.model}/models")
        )
        self.names = count()
        self.server = stack.enter_context(postgres())

    @contextmanager
    def running(self, server: Server) -> Iterator["Running"]:
        """Start a server and let its first visitors warm it up."""
        port = free_port()
        command = [PYTHON, "-m", "uvicorn", server.app]
        command += ["--app-dir", str(server.folder), "--port", str(port)]
        command += ["--no-access-log", "--log-level", "warning"]
        settings = {
            "OPENAI_BASE_URL": self.model,
            "OPENAI_API_KEY": "benchmark",
            "SERVICE_MAX_RUNS": "10000",
            "SERVICE_FIRST_TOKEN_TIMEOUT": str(LIMIT),
            **server.settings,
        }
        if "SERVICE_DB" in settings:
            settings["SERVICE_DB"] = self.server.database()
        else:
            path = self.folder / f"{next(self.names)}.db"
            settings["SERVICE_DB"] = str(path)
        url = f"http://127.0.0.1:{port}/openapi.json"
        command += server.options
        with process(command, url, **settings) as pid:
            running = Running(self, server, pid, port)
            running.load(visitors=4)
            yield running


@dataclass
class Running:
    """A server that has been warmed up."""

    bench: Bench
    server: Server
    pid: int
    port: int
    idle: float = 0.0  # MB, after the warm-up

    def load(
        self, visitors: int, asks: int = 1, path: str = "", **more: float
    ) -> dict:
        """Let the visitors come; return what they and the machine saw."""
        path = path or self.server.path
        number = next(self.bench.names)  # no two loads share a thread
        visit = Visit(
            port=self.port,
            path=path.replace("{ask}", f"{number}-{{ask}}"),
            visitors=visitors,
            asks=asks,
            deadline=self.server.limit,
        )
        visit = replace(visit, **more)
        pids = (self.pid, self.bench.model_pid)
        busy, used = busy_seconds(), [cpu_seconds(pid) for pid in pids]
        began = time.perf_counter()
        figures, peak = self._send(visit)
        wall = time.perf_counter() - began
        server, model = (
            cpu_seconds(pid) - before
            for pid, before in zip(pids, used, strict=True)
        )
        busy = busy_seconds() - busy
        self.idle = self.idle or megabytes(self.pid)
        others = busy - server - model - figures["client_cpu"]
        return {
            **figures,
            "server": self.server.name,
            "visitors": visitors,
            "asked": visitors * asks,
            "limit": visit.deadline,
            "cpu": 1e6 * server / max(figures["tokens"], 1),  # µs a token
            "grown": max(0.0, peak - self.idle),  # MB
            "others": max(0.0, others) / wall / (os.cpu_count() or 1),
            "client": figures["client_cpu"] / figures["wall"],
        }

    def _send(self, visit: Visit) -> tuple[dict, float]:
        """Run the client in its own process; also return the peak memory."""
        with subprocess.Popen(
            [PYTHON, str(HERE / "services_client.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as client:
            client.stdin.write(json.dumps(asdict(visit)))
            client.stdin.close()
            peak = megabytes(self.pid)
            while client.poll() is None:
                time.sleep(GLANCE)
                peak = max(peak, megabytes(self.pid))
            return json.load(client.stdout), peak


def rows(
    bench: Bench, sizes: dict[int, int], servers: list[Server]
) -> Iterator[dict]:
    """The endpoints at all sizes, each so many rounds, on fresh servers."""
    for size, rounds in sizes.items():
        for number in range(rounds):
            for server in servers:
                if server.rounds and number >= server.rounds:
                    continue
                asks = 4 if size == 1 else 1
                with bench.running(server) as running:
                    yield running.load(size, asks)


def two_workers(bench: Bench, sizes: list[int]) -> Iterator[dict]:
    """The notes' endpoint and the service with two workers each."""
    for size in sizes:
        for server in ESSENTIAL:
            server = replace(server, options=("--workers", "2"))
            with bench.running(server) as running:
                yield running.load(size)


def until_twice(
    bench: Bench, most: int, rounds: int, deadline: float
) -> Iterator[dict]:
    """More and more streams, until the first token takes twice as long."""
    for _ in range(rounds):
        for server in RIVALS[:4]:
            with bench.running(server) as running:
                alone = running.load(1, asks=3)["first"]["p50"]
                result = running.load(
                    most,
                    asks=0,
                    every=ARRIVALS,
                    enough=2 * alone,
                    deadline=deadline,
                )
                yield {**result, "alone": alone, "most": most}


def as_if_alone(
    bench: Bench, few: int, most: int, asks: int = 3
) -> Iterator[dict]:
    """More and more streams, as long as each is served as if it were alone."""
    for server in RIVALS[:4] if asks == 3 else ESSENTIAL:
        with bench.running(server) as running:
            alone = running.load(1, asks=asks)
        yield {**alone, "held": True}
        for visitors in range(few, most + 1, 10):
            with bench.running(server) as running:
                result = running.load(
                    visitors, asks=asks, every=WHOLE / visitors
                )
            result["held"] = all(
                result[what]["p50"] <= ALMOST * alone[what]["p50"]
                for what in ("first", "end")
            )
            yield result
            if not result["held"]:
                break


def steps(
    bench: Bench, visitors: int, rounds: int, chosen: list[str] = STEPS
) -> Iterator[dict]:
    """The service as it is, and without one step each; then other loops."""
    service = replace(RIVALS[2], app="service_without:app", folder=HERE)
    servers = [service] + [
        replace(service, name=step, settings={"WITHOUT": step})
        for step in chosen
    ]
    every = ",".join(chosen)
    servers += [
        replace(service, name="all of these", settings={"WITHOUT": every}),
        replace(
            service,
            name="uvloop and httptools",
            options=("--loop", "asyncio", "--http", "h11"),
        ),
    ]
    with ExitStack() as stack:
        running = [stack.enter_context(bench.running(s)) for s in servers]
        for _ in range(rounds):
            for each in running:
                yield each.load(visitors, 2, every=WHOLE / visitors)


def layers(bench: Bench, visitors: int, rounds: int) -> Iterator[dict]:
    """What a token costs, layer by layer, in one process."""
    with bench.running(RIVALS[0]) as running:
        for path in LAYERS:
            running.load(4, path=f"/layers/{path}{ASK}")
        for _ in range(rounds):
            for path, what in LAYERS.items():
                result = running.load(
                    visitors,
                    2,
                    path=f"/layers/{path}{ASK}",
                    every=WHOLE / visitors,
                )
                yield {**result, "server": what}


def arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--quick",
        action="store_true",
        help="small loads, one round, and services.md is left alone",
    )
    parser.add_argument(
        "--short",
        action="store_true",
        help="the notes' endpoint and the service only, in twelve minutes",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="keep the figures here too"
    )
    parser.add_argument(
        "--only",
        metavar="PART",
        help="measure one part; the others are what --json FILE holds",
    )
    return parser.parse_args()


def main() -> None:
    """Measure everything, print the page and write it."""
    options = arguments()
    allow_open_files()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # end servers too
    began = time.perf_counter()
    results = Results()
    with ExitStack() as stack:
        bench = Bench(stack)
        if options.quick:
            parts = {
                "rows": rows(bench, {1: 1, 10: 1, 100: 1}, RIVALS),
                "two": two_workers(bench, [100]),
                "alone": as_if_alone(bench, 10, 20),
                "twice": until_twice(bench, 50, 1, SHORT),
                "steps": steps(bench, 20, 1),
                "layers": layers(bench, 20, 1),
            }
        elif options.short:
            parts = {
                "rows": rows(bench, {1: 1, 100: 1, 1000: 1}, ESSENTIAL),
                "alone": as_if_alone(bench, 10, 300, asks=2),
                "steps": steps(bench, 60, 1, STEPS[:1] + STEPS[3:4]),
            }
        else:
            sizes = {1: 2, 10: 2, 100: 2, 300: 1, 1000: 1}
            parts = {
                "rows": rows(bench, sizes, RIVALS),
                "two": two_workers(bench, [100, 300, 1000]),
                "alone": as_if_alone(bench, 20, 300),
                "twice": until_twice(bench, 600, 3, LIMIT),
                "steps": steps(bench, 60, 3),
                "layers": layers(bench, 40, 3),
            }
        if options.only:
            results.update(json.loads(options.json.read_text()))
            parts = {options.only: parts[options.only]}
            results[options.only] = []
        for part, measured in parts.items():
            for result in measured:
                results[part].append(result)
                print(
                    f"{time.perf_counter() - began:5.0f} s  {part}"
                    f"  {result['visitors']} x {result['server']}",
                    file=sys.stderr,
                )
    machine = (
        f"{date.today()}, {platform.system()}, {os.cpu_count()} cores,"
        f" Python {platform.python_version()}"
    )
    text = page(results, machine, " --short" if options.short else "")
    print(text)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    if not options.quick:
        new = HERE / "services.md.new"
        new.write_text(text, encoding="utf-8")
        new.replace(HERE / "services.md")


if __name__ == "__main__":
    main()
