"""Make the website from the notebooks: `python tools/site.py`.

It copies the built notebooks and the pages beside them to build/pages, adapts
them to the theme, and runs Sphinx on that. Nothing is executed and nothing is
fetched. The site is then in build/site.

    python tools/site.py --repository https://github.com/NAME/REPO

adds launch buttons and links to the sources; the workflow knows the address.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat

from tools import contents
from tools.build import ROOT

PAGES = ROOT / "build" / "pages"
SITE = ROOT / "build" / "site"
ABOUT = ("OLD_NOTES.md", "INSTRUCTORS.md", "CONTRIBUTING.md", "CHANGELOG.md")
SHOWN = (
    "notebooks/[0-9]*.ipynb",
    "notebooks/*.md",
    "notebooks/pictures/*",
    "exercises/*.ipynb",
    "solutions/*.ipynb",
    *ABOUT,
)
# What JupyterLab collapses by metadata, MyST-NB collapses by a tag.
FOLDS = {"source_hidden": "hide-input", "outputs_hidden": "hide-output"}
# Colab opens a notebook alone: the button needs this cell.
COLAB = """<details class="d-print-none"><summary>On Colab</summary>

The button opens this notebook without the rest of the course. Make this its
first cell:

    !git clone {address} course && pip install "./course[lessons]"

</details>"""
LINK = re.compile(r"\]\((?![a-z]+:)([^)#\s]+)")
HEADING = re.compile(r"(\]\((?![a-z]+:)[^)#\s]*#)([^)\s]+)\)")


def main() -> int:
    """Copy the pages and build them; return Sphinx's exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--repository", default="", metavar="URL")
    address = parser.parse_args().repository.rstrip("/")
    shutil.rmtree(PAGES, ignore_errors=True)
    shutil.rmtree(SITE, ignore_errors=True)
    copy_pages()
    for path in PAGES.rglob("*.md"):
        text = path.read_text("utf-8")
        path.write_text(linked(text, path, address), "utf-8")
    for path in PAGES.rglob("*.ipynb"):
        adapt(path, address)
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "-q"]
    command += ["--keep-going", "-c", ROOT / "site", PAGES, SITE]
    settings = os.environ | {"COURSE_REPOSITORY": address}
    return subprocess.call(command, env=settings)


def copy_pages() -> None:
    """Copy what the site shows, and write its front page."""
    for pattern in SHOWN:
        for path in ROOT.glob(pattern):
            to = PAGES / path.relative_to(ROOT)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to)
    front = (ROOT / "site" / "index.md").read_text("utf-8")
    front = front.replace(contents.TOKEN, contents.table(ROOT))
    (PAGES / "index.md").write_text(front + trees(), "utf-8")


def adapt(path: Path, address: str) -> None:
    """Give a notebook the links, the folds and the note of its page."""
    book = nbformat.read(path, as_version=4)
    for cell in book.cells:
        folds = cell.metadata.pop("jupyter", {})
        tags = [FOLDS[name] for name in folds if name in FOLDS]
        cell.metadata.tags = [*cell.metadata.get("tags", []), *tags]
        if cell.cell_type == "markdown":
            cell.source = linked(cell.source, path, address)
        for output in cell.get("outputs", []):
            shown = output.get("data", {})
            if shown.get("text/plain", "").startswith("HTML("):
                del shown["text/plain"]  # of a widget: its picture follows
            if "text/markdown" in shown:
                text = shown["text/markdown"]
                shown["text/markdown"] = linked(text, path, address)
    if address:
        note = nbformat.v4.new_markdown_cell(COLAB.format(address=address))
        book.cells.insert(1, note)
    nbformat.write(book, path)


def linked(text: str, path: Path, address: str) -> str:
    """Send links to files that are no page of the site to the repository.

    A link to a heading gets the site's form: JupyterLab keeps capitals and
    commas in it.
    """

    def target(match: re.Match[str]) -> str:
        there = (path.parent / match[1]).resolve()
        if there.exists():
            return match[0]
        place = there.relative_to(PAGES).as_posix()
        return f"]({address}/blob/main/{place}" if address else "](#"

    def heading(match: re.Match[str]) -> str:
        return match[1] + re.sub(r"[^\w-]", "", match[2].lower()) + ")"

    # The site's front page shows what the index does.
    text = text.replace("](index.ipynb)", "](../index.md)")
    return LINK.sub(target, HEADING.sub(heading, text))


def trees() -> str:
    """Return the navigation: the lessons of each part, then the rest."""
    out, part = [], ""
    listed: dict[str, list[str]] = {}
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        part = contents.PARTS.get(path.stem[:2], part)
        listed.setdefault(part, []).append(f"notebooks/{path.stem}")
    sheets = sorted((ROOT / "notebooks").glob("*_cheat_sheet.md"))
    listed["To come back to"] = [
        *(f"Cheat sheet {p.stem[:2]} <notebooks/{p.stem}>" for p in sheets),
        "notebooks/glossary",
    ]
    labs = sorted((ROOT / "exercises").glob("*.ipynb"))
    listed["Exercises"] = [f"exercises/{p.stem}" for p in labs]
    listed["Solutions"] = [f"solutions/{p.stem}" for p in labs]
    listed["About"] = [name.removesuffix(".md") for name in ABOUT]
    for name, pages in listed.items():
        head = f"```{{toctree}}\n:hidden:\n:caption: {name}\n"
        out.append("\n".join([head, *pages, "```"]))
    return "\n\n" + "\n\n".join(out) + "\n"


if __name__ == "__main__":
    sys.exit(main())
