"""Set up the course in the folder .venv, then open it or run its tests.

    python3 start.py                  open the course in JupyterLab
    python3 start.py test             run all the tests
    python3 start.py setup            only set up
    python3 start.py wheels FOLDER    fill a folder with all the packages

On Windows write `py` in place of `python3`. It needs Python 3.11 or later.
What else you type is passed on to JupyterLab or pytest, as in
`start.py --no-browser` or `start.py test -m quick`.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
BIN = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")
STAMP = ENVIRONMENT / "installed.txt"
INDEX = "notebooks/index.ipynb"
PIP = ["python", "-m", "pip", "install", "--quiet"]


def main() -> None:
    """Do what the command line asks."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--pip",
        action="store_true",
        help="install with plain pip, not with uv: slower, the same versions",
    )
    parser.add_argument(
        "--wheels",
        type=os.path.abspath,
        metavar="FOLDER",
        help="take the packages from this folder, without a network",
    )
    options, rest = parser.parse_known_args()
    word = rest.pop(0) if rest and not rest[0].startswith("-") else "open"
    if sys.version_info < (3, 11):  # noqa: UP036 (people try older ones)
        sys.exit("The course needs Python 3.11 or later.")
    if word == "wheels":
        if not rest:
            parser.error("wheels needs a FOLDER")
        fill(os.path.abspath(rest[0]))
    elif word in ("open", "setup", "test"):
        kind = "requirements-dev" if word == "test" else "requirements"
        set_up(kind, options.pip, options.wheels)
        start(word, rest)
    else:
        parser.error(f"no such command: {word}")


def set_up(kind: str, with_pip: bool, wheels: str | None) -> None:
    """Make the environment, unless it holds these very packages already."""
    wanted = stamp(kind)
    if STAMP.exists() and wanted in STAMP.read_text("utf-8").split():
        return
    print("Setting up the folder .venv. This takes a minute.", flush=True)
    make_environment()
    if with_pip or wheels:
        source = ["--no-index", "--find-links", wheels] if wheels else []
        run(*PIP, "-r", f"{kind}.txt", "-c", unhashed(kind), *source)
    else:
        run(*PIP, "uv")
        uv = ["uv", "pip", "install", "--quiet", "--python", ENVIRONMENT]
        run(*uv, "-r", f"{kind}.txt", "-c", f"{kind}.lock")
    # The tests' packages are the learner's and some more.
    STAMP.write_text(f"{wanted} {stamp('requirements')}", "utf-8")


def stamp(kind: str) -> str:
    """Return a name for the packages that these files ask for."""
    texts = b""
    for name in (f"{kind}.txt", f"{kind}.lock", "requirements.txt"):
        texts += (ROOT / name).read_bytes()
    return kind + hashlib.sha256(texts).hexdigest()


def make_environment() -> None:
    """Create .venv with pip in it; keep one that is whole."""
    if any(BIN.glob("pip*")):
        return
    try:
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
    except subprocess.CalledProcessError:
        sys.exit(
            "This Python has no ensurepip. On Debian and Ubuntu run "
            "`apt install python3-venv`, delete .venv, and try again."
        )


def unhashed(kind: str) -> Path:
    """Write the lock as constraints that pip takes beside `-e .`.

    pip wants a hash for everything as soon as one line has one, and the
    course's own package has none.
    """
    lock = (ROOT / f"{kind}.lock").read_text("utf-8")
    pins = re.sub(r" \\\n +--hash=\S+", "", lock)
    path = ENVIRONMENT / "constraints.txt"
    path.write_text(pins, "utf-8")
    return path


def fill(folder: str) -> None:
    """Gather every package as a wheel, and what builds the course's own."""
    make_environment()
    wheel = ["python", "-m", "pip", "wheel", "--wheel-dir", folder]
    run(*wheel, "-r", "requirements.txt", "-c", unhashed("requirements"))
    run(*wheel, "flit_core>=3.12,<5")
    print(f"Take {folder} along: python3 start.py --wheels FOLDER")


def start(word: str, rest: list[str]) -> None:
    """Open the course, or run its tests, and end as they end."""
    if word == "open":
        lab = ["jupyter", "lab", "--notebook-dir=."]
        run(*lab, f"--LabApp.default_url=/lab/tree/{INDEX}", *rest)
    elif word == "test":
        run("pytest", *rest)


def run(program: str, *arguments: object) -> None:
    """Run a program of the environment; end with its code if it fails."""
    command = [str(BIN / program), *map(str, arguments)]
    try:
        code = subprocess.call(command, cwd=ROOT)
    except KeyboardInterrupt:
        code = 130
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
