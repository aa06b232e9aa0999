"""What the notebooks cost as tests: warm kernels beside plain nbval.

    python benchmarks/suite.py                    the three folders
    python benchmarks/suite.py notebooks          one of them, or some files

Each way runs once, one after the other. CPU seconds are those of the whole
machine (a killed kernel tells nobody what it took), so let nothing else run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("notebooks", "exercises", "solutions")
PYTEST = [sys.executable, "-m", "pytest", "-q"]
PLAIN = [
    "-p", "nbval.plugin", "-c", os.devnull, "--rootdir", str(ROOT),
    "--disable-plugin-autoload", "--nbval", "--nbval-current-env",
    f"--nbval-sanitize-with={ROOT / 'sanitize.cfg'}",
    "--nbval-cell-timeout=40", "--noconftest",
]  # fmt: skip
WAYS = {
    "plain `pytest --nbval`": [*PYTEST, *PLAIN],
    "cold kernels, our workers": [*PYTEST, "--cold-kernels"],
    "warm kernels, our workers": PYTEST,
}


def busy() -> float:
    """Return the CPU seconds that this machine has worked so far."""
    times = psutil.cpu_times()
    return times.user + times.nice + times.system


def main() -> None:
    """Print a table: seconds, CPU seconds a notebook, what pytest said."""
    paths = [Path(name) for name in sys.argv[1:] or FOLDERS]
    books = [book for path in paths for book in books_in(ROOT / path)]
    print(f"{len(books)} notebooks on {os.cpu_count()} cores")
    for name, command in WAYS.items():
        began, worked = time.perf_counter(), busy()
        run = subprocess.run(
            [*command, *map(str, books)],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        took, cpu = time.perf_counter() - began, busy() - worked
        said = run.stdout.strip().splitlines()[-1].strip("= ")
        each = cpu / len(books)
        print(f"{name}: {took:.0f} s, {each:.1f} CPU s a notebook; {said}")


def books_in(path: Path) -> list[Path]:
    return sorted(path.glob("*.ipynb")) if path.is_dir() else [path]


if __name__ == "__main__":
    main()
