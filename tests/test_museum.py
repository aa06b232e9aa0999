"""The museum: words lead to the exhibit whose own cells raise them."""

import ast
import builtins
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
NO_EXHIBIT |= {"In your own words"}
NO_EXHIBIT |= {"Ask the doctor", "Check yourself", "Keep"}
NO_EXHIBIT |= {"Words that need another machine"}
NO_EXHIBIT |= {"One client for each loop"}  # the mend of the one before


class Exhibit(NamedTuple):
    room: str
    title: str
    prose: str
    shown: str  # what its cells print and raise
    code: str

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


def sections_of(room: str) -> Iterator[Exhibit]:
    path = ROOT / "notebooks" / f"{room}.ipynb"
    title, prose, shown, code = "", "", "", ""
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            shown += shown_by(cell) + "\n"
            code += cell.source + "\n"
            continue
        for part in re.split(r"^(?=## )", cell.source, flags=re.MULTILINE):
            if part.startswith("## "):
                yield Exhibit(room, title, prose, shown, code)
                title = part.partition("\n")[0].removeprefix("## ")
                prose, shown, code = "", "", ""
            prose += part + "\n\n"
    yield Exhibit(room, title, prose, shown, code)


SECTIONS = [section for room in ROOMS for section in sections_of(room)]
EXHIBITS = [s for s in SECTIONS if s.title and s.title not in NO_EXHIBIT]
SETUP = {s.room: s.code for s in SECTIONS if s.title == "Setup"}
EACH = pytest.mark.parametrize("exhibit", EXHIBITS, ids=lambda e: e.title)


def names(code: str) -> tuple[set[str], set[str]]:
    """The names that some code uses, and those that it binds."""
    used, bound = set(), set(dir(builtins))
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif hasattr(node, "name"):  # a function, a class, an error
            bound.add(node.name)
    return used, bound


@EACH
def test_it_needs_only_the_setup(exhibit: Exhibit) -> None:
    used, bound = names(SETUP[exhibit.room] + exhibit.code)
    assert used - bound == set()


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
