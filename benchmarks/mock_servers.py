"""Measure the practice model side by side with other mock servers.

    python benchmarks/mock_servers.py

installs each server into an environment of its own, measures all of them
in one run, in turns, and writes benchmarks/results.md. All traffic stays
on this machine, and every load is bounded in count and in time.
"""

import argparse
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path

import psutil
from load_client import Load
from report import page
from rivals import RIVALS, Job, Rival

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent / "build" / "benchmarks"
OPEN_FILES = 8192  # sockets that a server and the client may have open
START_LIMIT = 60.0  # seconds a server may take to answer
WARM_UP = 1.0  # seconds that a first stream may take, before the load
QUIET, QUIET_LIMIT = 20.0, 20.0  # % of the machine; seconds to wait for it
QUICK_LIMIT = 2.0  # the same, for a quick round
OPENED_PER_SECOND = 250.0  # for the paced loads


def allow_open_files() -> None:
    """Raise this process's limit of open files; children inherit it."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < OPEN_FILES:
        limit = min(OPEN_FILES, hard) if hard > 0 else OPEN_FILES
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def family(pid: int) -> list[psutil.Process]:
    """Return the process `pid` and whatever it started."""
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds that the server has used so far."""
    times = [process.cpu_times() for process in family(pid)]
    return sum(used.user + used.system for used in times)


def megabytes(pid: int) -> float:
    """Return the resident memory of the server in MB."""
    return sum(p.memory_info().rss for p in family(pid)) / 1e6


def busy_seconds() -> float:
    """Return the CPU seconds that the whole machine has been busy."""
    used = psutil.cpu_times()
    return sum(used) - used.idle - getattr(used, "iowait", 0.0)


@contextmanager
def running(rival: Rival, job: Job) -> Iterator[tuple[int, float]]:
    """Start a server; yield its pid and the seconds to its first 200."""
    began = time.perf_counter()
    server = subprocess.Popen(
        rival.command(job),
        env={**os.environ, **rival.environment(job)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=HERE.parent,
    )
    try:
        wait_for_200(f"http://127.0.0.1:{job.port}{rival.ready}", server)
        yield server.pid, time.perf_counter() - began
    finally:
        if server.poll() is None:
            for process in family(server.pid):
                process.kill()
        server.wait()


def wait_for_quiet(limit: float) -> None:
    """Return when little else runs, or after `limit` seconds."""
    give_up = time.perf_counter() + limit
    while psutil.cpu_percent(1.0) > QUIET and time.perf_counter() < give_up:
        pass


def wait_for_200(url: str, server: subprocess.Popen[bytes]) -> None:
    """Return when `url` answers; RuntimeError if the server never does."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    give_up = time.perf_counter() + START_LIMIT
    while server.poll() is None and time.perf_counter() < give_up:
        try:
            with opener.open(url, timeout=START_LIMIT):
                return
        except urllib.error.HTTPError:
            raise
        except OSError:
            time.sleep(0.01)
    raise RuntimeError(f"no answer from {url}")


def send(load: Load) -> dict:
    """Run the load client in its own process; return its figures."""
    done = subprocess.run(
        [sys.executable, str(HERE / "load_client.py")],
        input=json.dumps(asdict(load)),
        stdout=subprocess.PIPE,
        text=True,
        timeout=load.deadline + 60,
        check=True,
    )
    return json.loads(done.stdout)


def measure(
    rival: Rival, streams: int, tokens: int, paced: bool, patience: float
) -> dict:
    """Start `rival`, put one load on it, stop it; return all figures.

    Before that it waits `patience` seconds at most for a quiet machine.
    """
    folder = CACHE / f"{rival.name}-{rival.version}".replace(" ", "-")
    rival.install(folder)
    job = Job(folder, free_port(), paced, tokens)
    first, per_token = (rival.first, rival.per_token) if paced else (0, 0)
    per_second = OPENED_PER_SECOND if paced else 0.0
    length = first + tokens * per_token
    opening = streams / per_second if paced else 0.0
    load = Load(
        port=job.port,
        model=rival.model(job),
        prompt=rival.prompt(job),
        streams=streams,
        tokens=tokens,
        opened_per_second=per_second,
        first=first,
        per_token=per_token,
        deadline=60 + 2 * (opening + length),
    )
    wait_for_quiet(patience)
    with running(rival, job) as (pid, start):
        idle = megabytes(pid)
        send(replace(load, streams=1, opened_per_second=0.0, deadline=WARM_UP))
        machine, server = busy_seconds(), cpu_seconds(pid)
        began = time.perf_counter()
        figures = send(load)
        wall = time.perf_counter() - began
        server = cpu_seconds(pid) - server
        machine = busy_seconds() - machine
        after = megabytes(pid)
    others = max(0.0, machine - server - figures["client_cpu"])
    return {
        **figures,
        "server": rival.name,
        "streams": streams,
        "paced": paced,
        "complete": figures["outcomes"].get("complete", 0),
        "start": start,
        "idle": idle,
        "after": after,
        "server_cpu": server,
        "client_share": figures["client_cpu"] / figures["wall"],
        "others_share": others / wall / (os.cpu_count() or 1),
    }


def arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--only",
        action="append",
        choices=[rival.name for rival in RIVALS],
        help="measure this server alone (may be given again)",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one short round, 200 streams at most; writes no results.md",
    )
    parser.add_argument("--json", type=Path, help="write raw figures here")
    return parser.parse_args()


def main() -> None:
    """Measure in turns, print the page, and keep it after a full run."""
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # end servers too
    allow_open_files()
    chosen = [r for r in RIVALS if not options.only or r.name in options.only]
    chosen = [rival for rival in chosen if rival.available()]
    rounds, many, tokens = (1, 200, 20) if options.quick else (3, 1000, 80)
    patience = QUICK_LIMIT if options.quick else QUIET_LIMIT
    loads = [(many, False), (1, True), (100, True), (many, True)]

    results = []
    for _ in range(rounds):
        for streams, paced in loads:
            for rival in chosen:
                result = measure(rival, streams, tokens, paced, patience)
                results.append(result)
                kind = "paced" if paced else "at once"
                print(
                    f"{rival.name}: {streams} streams {kind},"
                    f" {result['complete']} complete",
                    file=sys.stderr,
                    flush=True,
                )

    machine = (
        f"{platform.system()}, {os.cpu_count()} cores,"
        f" Python {platform.python_version()}"
    )
    text = page(results, chosen, f"{date.today()}, {machine}", tokens, many)
    print(text)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    if not options.quick and not options.only:
        (HERE / "results.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
