"""Make the website from the notebooks: `python tools/site.py`.

It copies the built notebooks and the pages beside them to build/pages, with
the folded cells as the theme folds them, and runs Sphinx on that. Nothing is
executed and nothing is fetched. The site is then in build/site.

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
FOLDERS = ("notebooks", "exercises", "solutions")
PLAIN = ("OLD_NOTES.md", "INSTRUCTORS.md", "CONTRIBUTING.md", "CHANGELOG.md")
# What JupyterLab collapses by metadata, MyST-NB collapses by a tag.
FOLDS = {"source_hidden": "hide-input", "outputs_hidden": "hide-output"}
# Colab opens a notebook alone: the button needs this cell.
COLAB = """<details><summary>On Colab</summary>

The button opens this notebook without the rest of the course. Make this its
first cell:

    !git clone {address} course && pip install "./course[lessons]"

</details>"""
LINK = re.compile(r"\]\((\.\./)([^)#\s]+)")

HEADING = re.compile(r"(\]\((?![a-z]+:)[^)#\s]*#)([^)\s]+)\)")


def main(argv: list[str] | None = None) -> int:
    """Copy the pages and build them; return Sphinx's exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--repository", default="", metavar="URL")
    address = parser.parse_args(argv).repository.rstrip("/")
    shutil.rmtree(PAGES, ignore_errors=True)
    shutil.rmtree(SITE, ignore_errors=True)
    copy_pages(address)
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "-q"]
    command += ["--keep-going", "-c", ROOT / "site", PAGES, SITE]
    settings = os.environ | {"COURSE_REPOSITORY": address}
    return subprocess.call([str(word) for word in command], env=settings)


def copy_pages(address: str) -> None:
    """Copy what the site shows, with links that work there."""
    for folder in FOLDERS:
        (PAGES / folder).mkdir(parents=True)
        for path in sorted((ROOT / folder).glob("*.ipynb")):
            if path.stem != "index":
                copy_notebook(path, address)
    for path in sorted((ROOT / "notebooks").glob("*.md")):
        text = elsewhere(path.read_text("utf-8"), address)
        (PAGES / "notebooks" / path.name).write_text(text, "utf-8")
    pictures = ROOT / "notebooks" / "pictures"
    if pictures.exists():
        shutil.copytree(pictures, PAGES / "notebooks" / "pictures")
    for name in PLAIN:
        text = (ROOT / name).read_text("utf-8")
        (PAGES / name).write_text(elsewhere(text, address, ""), "utf-8")
    front = (ROOT / "site" / "index.md").read_text("utf-8")
    front = front.replace(contents.TOKEN, contents.table(ROOT))
    (PAGES / "index.md").write_text(front + trees(), "utf-8")


def copy_notebook(path: Path, address: str) -> None:
    book = nbformat.read(path, as_version=4)
    for cell in book.cells:
        folds = cell.metadata.pop("jupyter", {})
        tags = [FOLDS[name] for name in folds if name in FOLDS]
        if tags:
            cell.metadata.tags = [*cell.metadata.get("tags", []), *tags]
        if cell.cell_type == "markdown":
            cell.source = elsewhere(cell.source, address)
        for output in cell.get("outputs", []):
            shown = output.get("data", {})
            if "text/markdown" in shown:
                text = shown["text/markdown"]
                shown["text/markdown"] = elsewhere(text, address)
    if address:
        note = nbformat.v4.new_markdown_cell(COLAB.format(address=address))
        book.cells.insert(1, note)
    nbformat.write(book, PAGES / path.parent.name / path.name)


def elsewhere(text: str, address: str, up: str = "../") -> str:
    """Send links to files that are no page of the site to the repository.

    A link to a heading gets the site's form: JupyterLab keeps capitals and
    commas in it.
    """

    def target(match: re.Match[str]) -> str:
        place = match[2].rstrip("/")
        is_page = place.endswith(".ipynb") or place in PLAIN
        if is_page or not (ROOT / place).exists():
            return match[0]
        return f"]({address}/blob/main/{place}" if address else "](#"

    # The site's front page shows what the index does.
    text = text.replace("](index.ipynb)", "](../index.md)")
    text = HEADING.sub(
        lambda match: match[1] + re.sub(r"[^\w-]", "", match[2].lower()) + ")",
        text,
    )
    link = LINK if up else re.compile(r"\]\(()(?![a-z]+:)([^)#\s]+)")
    return link.sub(target, text)


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
    listed["About"] = [name.removesuffix(".md") for name in PLAIN]
    for name, pages in listed.items():
        head = f"```{{toctree}}\n:hidden:\n:caption: {name}\n"
        out.append("\n".join([head, *pages, "```"]))
    return "\n\n" + "\n\n".join(out) + "\n"


if __name__ == "__main__":
    sys.exit(main())
