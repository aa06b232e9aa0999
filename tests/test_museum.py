"""The museum: words lead to the exhibit whose own cells raise them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest

from tools.build import ROOT

ROOMS = ("17_break_it_on_purpose", "18_errors_by_their_words")
INDEX = ROOT / "notebooks" / "17_cheat_sheet.md"
SAYS = re.compile(r"\*\*It says\*\* (.+?)(?:\n\n|\Z)", re.DOTALL)
NO_EXHIBIT = {"Setup", "Where does it hurt", "By their words"}
NO_EXHIBIT |= {"Ask the doctor", "Check yourself", "Keep"}
NO_EXHIBIT |= {"Words that need another machine"}
NO_EXHIBIT |= {"One client for each loop"}  # the mend of the one before


class Exhibit(NamedTuple):
    room: str
    title: str
    prose: str
    shown: str  # what its cells print and raise

    @property
    def words(self) -> list[str]:
        said = SAYS.search(self.prose)
        return re.findall(r"`([^`]+)`", said[1]) if said else []


def shown_by(cell: nbformat.NotebookNode) -> str:
    parts = []
    for output in cell.get("outputs", []):
        parts.append(output.get("text", ""))
        parts.append(output.get("evalue", ""))
        parts.append(output.get("data", {}).get("text/plain", ""))
    return re.sub(r"\x1b\[[\d;]*m", "", "\n".join(parts))


def exhibits_of(room: str) -> Iterator[Exhibit]:
    path = ROOT / "notebooks" / f"{room}.ipynb"
    title, prose, shown = "", "", ""
    for cell in nbformat.read(path, as_version=4).cells:
        pieces = [cell.source] if cell.cell_type == "markdown" else []
        for piece in pieces:
            for part in re.split(r"^(?=## )", piece, flags=re.MULTILINE):
                if part.startswith("## "):
                    if title and title not in NO_EXHIBIT:
                        yield Exhibit(room, title, prose, shown)
                    title = part.partition("\n")[0].removeprefix("## ")
                    prose, shown = "", ""
                prose += part + "\n\n"
        shown += shown_by(cell) + "\n"
    if title and title not in NO_EXHIBIT:
        yield Exhibit(room, title, prose, shown)


EXHIBITS = [exhibit for room in ROOMS for exhibit in exhibits_of(room)]
EACH = pytest.mark.parametrize("exhibit", EXHIBITS, ids=lambda e: e.title)


@EACH
def test_its_cells_say_its_words(exhibit: Exhibit) -> None:
    missing = [word for word in exhibit.words if word not in exhibit.shown]
    assert not missing


@EACH
def test_it_has_a_thread_or_a_lesson(exhibit: Exhibit) -> None:
    thread = re.search(
        r"\]\(https://github\.com/[^)]+/(issues|pull)/\d+\)", exhibit.prose
    )
    lesson = re.search(r"\[lesson \d\d\]\(\d\d_\w+\.ipynb\)", exhibit.prose)
    assert thread or lesson


@EACH
def test_it_says_why_and_mends(exhibit: Exhibit) -> None:
    assert "**Why" in exhibit.prose
    assert "**Mend" in exhibit.prose


@EACH
def test_the_index_lists_it(exhibit: Exhibit) -> None:
    page = INDEX.read_text("utf-8")
    anchor = exhibit.title.replace(" ", "-")
    assert f"]({exhibit.room}.ipynb#{anchor})" in page
    for word in exhibit.words:
        assert word in re.sub(r"\n\s+", " ", page)


def test_what_raises_has_its_words() -> None:
    """An exhibit whose cell shows an error names its words."""
    silent = [
        exhibit.title
        for exhibit in EXHIBITS
        if not exhibit.words and re.search(r"\b\w+Error: ", exhibit.shown)
    ]
    assert silent == []


def test_there_is_one_index() -> None:
    pages = Path(ROOT / "notebooks").glob("*cheat_sheet.md")
    names = sorted(page.name for page in pages)
    assert names == ["03_cheat_sheet.md", "17_cheat_sheet.md"]
