"""The table of the course, in every place that shows it.

A part names its first lesson; titles, minutes and labs are read from the
built notebooks. README.md and INSTRUCTORS.md hold the table between two
comments, and the index notebook shows it where its source says `{course}`.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat

TOKEN = "{course}"
PARTS = {
    "00": "Streams",
    "07": "Servers",
    "11": "Many, and memory",
    "17": "The museum",
}
PAGES = ("README.md", "INSTRUCTORS.md")
PLACE = re.compile(r"(<!-- lessons -->\n).*?(<!-- end -->)", re.DOTALL)
MINUTES = re.compile(r"\b(?:[Ii]n|about) (\d+)\s+minutes")
HEAD = "| # | lesson | minutes | lab | minutes |\n|---|---|---|---|---|"


def table(root: Path, there: str = "") -> str:
    """Return the table in Markdown; `there` leads from the page to root."""
    rows, total = [HEAD], 0
    for path in sorted((root / "notebooks").glob("[0-9]*.ipynb")):
        number, name = path.stem[:2], path.name
        title, minutes = facts(path)
        total += minutes
        if number in PARTS:
            rows.append(f"| | **{PARTS[number]}** | | | |")
        lesson = f"| {number} | [{title}]({there}notebooks/{name}) | {minutes}"
        lab = root / "exercises" / name
        if lab.exists():
            to_do = facts(lab)[1]
            total += to_do
            links = (
                f"[exercise]({there}exercises/{name}) · "
                f"[solution]({there}solutions/{name})"
            )
            rows.append(f"{lesson} | {links} | {to_do} |")
        else:
            rows.append(f"{lesson} | | |")
    hours = round(total / 60)
    return "\n".join([*rows, "", f"Together about {hours} hours."])


def facts(path: Path) -> tuple[str, int]:
    """Return the title of a notebook, and the minutes that it says."""
    try:
        cells = nbformat.read(path, as_version=4).cells
    except ValueError:  # unreadable: the build is about to mend it
        return path.stem, 0
    title = cells[0].source.partition("\n")[0].removeprefix("# ")
    for cell in cells[:4]:
        said = MINUTES.search(cell.source)
        if said:
            return title, int(said[1])
    return title, 0


def pages(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield each page that shows the table, and the text it should have."""
    for name in PAGES:
        path = root / name
        if path.exists():
            text = path.read_text("utf-8")
            made = f"\\1{table(root)}\n\\2"
            yield path, PLACE.sub(made, text)
