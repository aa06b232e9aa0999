"""One format for every line: JSON, with the run and the thread it is about.

No line holds what a user typed: of an error only its kind and its place.
"""

from __future__ import annotations

import json
import logging
import traceback
from contextvars import ContextVar
from typing import Any

log = logging.getLogger("service")
about: ContextVar[dict[str, Any]] = ContextVar("about", default={})  # noqa: B039


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "event": record.getMessage(),
            "run": "",
            "thread": "",
        }
        line |= about.get() | getattr(record, "more", {})
        if record.exc_info and record.exc_info[1]:
            line |= where(record.exc_info[1])
        return json.dumps(line)


def where(error: BaseException) -> dict[str, Any]:
    """What failed and where, without its message: that may hold a prompt."""
    frames = traceback.extract_tb(error.__traceback__)
    files = [f"{each.filename}:{each.lineno}" for each in frames[-3:]]
    return {"error": type(error).__name__, "at": files}


def note(event: str, **more: Any) -> None:
    log.info(event, extra={"more": more})


def bug(event: str, error: BaseException) -> None:
    log.error(event, extra={"more": where(error)})


def set_up() -> None:
    """Let this process's lines, uvicorn's too, be of one format."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    log.setLevel(logging.INFO)
    for name in "uvicorn", "uvicorn.error":
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    logging.getLogger("uvicorn.access").disabled = True  # we write our own
