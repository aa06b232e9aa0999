"""What the notebooks cost as tests: warm kernels beside plain nbval.

    python benchmarks/suite.py                    the three folders
    python benchmarks/suite.py notebooks          one of them, or some files

Each way runs once, one after the other. CPU seconds are those of the whole
machine (a killed kernel tells nobody what it took), so let nothing else run.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
PYTEST = [sys.executable, "-m", "pytest", "-q"]
PLAIN = [
    *("-c", os.devnull, "--rootdir", str(ROOT), "--noconftest"),
    *("--disable-plugin-autoload", "-p", "nbval.plugin", "--nbval"),
    *("--nbval-current-env", "--nbval-cell-timeout=120"),
    f"--nbval-sanitize-with={ROOT / 'sanitize.cfg'}",
]
WAYS = {
    "plain `pytest --nbval`": [*PYTEST, *PLAIN],
    "our workers, cold kernels": [*PYTEST, "--cold-kernels"],
    "our workers, warm kernels": PYTEST,
}


def busy() -> float:
    """Return the CPU seconds that this machine has worked so far."""
    times = psutil.cpu_times()
    return times.user + times.nice + times.system


def main() -> None:
    """Print for each way: seconds, CPU seconds a notebook, what was said."""
    books = []
    for name in sys.argv[1:] or ("notebooks", "exercises", "solutions"):
        path = ROOT / name
        books += sorted(path.glob("*.ipynb")) if path.is_dir() else [path]
    print(f"{len(books)} notebooks on {os.cpu_count()} cores")
    for name, command in WAYS.items():
        began, worked = time.perf_counter(), busy()
        command = [*command, *map(str, books)]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        seconds, cpu = time.perf_counter() - began, busy() - worked
        said = run.stdout.strip().splitlines()[-1].strip("= ")
        each = cpu / len(books)
        print(f"{name}: {seconds:.0f} s, {each:.1f} CPU s a notebook; {said}")


if __name__ == "__main__":
    main()
