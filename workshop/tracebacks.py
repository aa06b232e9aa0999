"""Short tracebacks in a notebook: the reader's own lines, and a count."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from typing import Any

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_FRAME = re.compile(r"File (.+?):\d+, in ")


def shorten_tracebacks() -> None:
    """Leave frames of libraries out of the tracebacks of this notebook.

    It is for IPython's usual mode only: ``%xmode Verbose`` shows them all.
    Outside of IPython it does nothing.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython and ipython.get_ipython()
    formatter = getattr(shell, "InteractiveTB", None)
    if formatter is None or hasattr(formatter, "_whole_traceback"):
        return
    formatter._whole_traceback = formatter.structured_traceback

    def structured_traceback(*args: Any, **kwargs: Any) -> list[str]:
        whole = formatter._whole_traceback(*args, **kwargs)
        return list(_short(whole)) if formatter.mode == "Context" else whole

    formatter.structured_traceback = structured_traceback


def _short(entries: Iterable[str]) -> Iterator[str]:
    """The entries of a traceback without runs of library frames."""
    hidden = 0
    for entry in entries:
        frame = _FRAME.match(_ANSI.sub("", entry))
        if frame and _of_a_library(frame[1]):
            hidden += 1
            continue
        if hidden:
            yield f"    (frames in library code: {hidden})\n"
        hidden = 0
        yield entry
    if hidden:
        yield f"    (frames in library code: {hidden})\n"


def _of_a_library(path: str) -> bool:
    path = os.path.expanduser(path)  # IPython writes ~ where it can
    return any(part in path for part in _LIBRARIES)


_LIBRARIES = (
    "site-packages",
    "dist-packages",
    sysconfig.get_path("stdlib"),
    os.path.dirname(__file__),
)
