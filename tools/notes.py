"""Write OLD_NOTES.md from the table tests/notes.toml.

    python tools/notes.py

The table says what an older text on async streaming claims, which cell of
the course shows it, and what was found. tests/test_notes.py proves that each
of these cells exists, and that the page is what the table gives.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "tests" / "notes.toml"
PAGE = ROOT / "OLD_NOTES.md"
KINDS = {
    "section": "What the sections say",
    "snippet": "The snippets",
    "why": "Why it matters",
    "detail": "Key technical details",
    "misconception": "Common misconceptions",
    "connection": "Connections to other concepts",
}
VERDICTS = ("holds", "holds with a condition", "no longer true")


class Row(NamedTuple):
    """One claim. ``cell`` is a text that only the cell that shows it has;
    ``code`` is the code of a snippet, else empty."""

    kind: str
    says: str
    verdict: str
    today: str
    lesson: str
    cell: str
    code: str = ""

    @property
    def notebook(self) -> Path:
        (path,) = (ROOT / "notebooks").glob(f"{self.lesson}_*.ipynb")
        return path


def rows() -> list[Row]:
    """The table, in the order of the older text."""
    return [Row(**row) for row in tomllib.loads(TABLE.read_text())["row"]]


def page(table: list[Row]) -> str:
    """The page for readers, as Markdown."""
    counts = [
        f"{sum(row.verdict == verdict for row in table)} {verdict}"
        for verdict in VERDICTS
    ]
    parts = [
        "# What the old notes say, and what is true today",
        "This course began as an older text on async streaming with "
        "LangGraph. Each of its claims is shown by a cell that runs, and was "
        f"judged by what that cell does: {', '.join(counts)}.",
    ]
    for kind, title in KINDS.items():
        parts += [f"## {title}", *listed(table, kind)]
    return "\n\n".join(parts) + "\n"


def listed(table: list[Row], kind: str) -> list[str]:
    lines = ["| the notes say | verdict | today | shown in |"]
    lines.append("|---|---|---|---|")
    for row in table:
        if row.kind == kind:
            title = title_of(row.notebook)
            link = f"[{row.lesson} · {title}](notebooks/{row.notebook.name})"
            cells = (row.says, row.verdict, row.today, link)
            lines.append(f"| {' | '.join(cells)} |")
    return ["\n".join(lines)]


def title_of(notebook: Path) -> str:
    first = json.loads(notebook.read_text("utf-8"))["cells"][0]["source"]
    return "".join(first).partition("\n")[0].removeprefix("# ")


if __name__ == "__main__":
    PAGE.write_text(page(rows()), "utf-8", newline="\n")
    print(PAGE.name)
