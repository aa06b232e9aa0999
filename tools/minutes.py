"""How long a notebook takes a reader, computed from what stands in it.

Three readers who had never seen the course wrote down their minutes; the
figures below are theirs. The running time is the build's own measurement.
"""

import re
from collections.abc import Iterable
from math import ceil

from nbformat import NotebookNode

TOKEN = "{minutes}"
WORDS_A_MINUTE = 150
PREDICTION = 25  # seconds to make up one's mind, and to compare
FIGURE = 20  # seconds to read a timeline
CHECK = 120  # seconds for a small answer, its verdict and one more try
LINE = 6  # seconds to read a line of code
TODO_LINE = 60  # seconds to find, write and mend a line of an answer
STUB = re.compile(r"# TODO \(about (\d+) lines?\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
FOLDED_TEXT = re.compile(r"<summary>(?:Hint|Solution).*?</details>", re.DOTALL)


def minutes_of(cells: Iterable[NotebookNode], running: float) -> int:
    """Return whole minutes for the cells, which ran for `running` seconds."""
    seconds = running
    for cell in cells:
        text = cell.source
        if cell.cell_type == "markdown":
            seconds += markdown_seconds(text)
        elif "folded" not in cell.metadata.get("tags", []):
            seconds += code_seconds(text)
            seconds += FIGURE * pictures(cell)
    return ceil(seconds / 60)


def markdown_seconds(text: str) -> float:
    """Count the words that one reads; hints and solutions stay folded."""
    prose = FENCE.sub("", FOLDED_TEXT.sub("", text))
    visible = re.sub(r"<[^>]+>|\]\([^)]+\)", " ", prose)
    words = len(re.findall(r"\S*\w\S*", visible))
    predictions = prose.count("**Predict.**")
    return words * 60 / WORDS_A_MINUTE + predictions * PREDICTION


def code_seconds(text: str) -> float:
    """Count the lines to read; a stub counts the lines to write."""
    lines = [line for line in text.splitlines() if line.strip()]
    to_write = sum(int(number) for number in STUB.findall(text))
    checks = text.count("await check(")
    return len(lines) * LINE + to_write * TODO_LINE + checks * CHECK


def pictures(cell: NotebookNode) -> int:
    data = [output.get("data", {}) for output in cell.get("outputs", [])]
    return sum("<img " in kinds.get("text/html", "") for kinds in data)
