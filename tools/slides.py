"""Make slides of the lessons: `python tools/slides.py [FOLDER] [NAME ...]`.

Each heading begins a slide, each code cell continues downwards with its
stored output, and the answer to a prediction stays folded. The slides go to
build/slides unless you name another folder; NAME is how a lesson begins.
Their links lead to the website when FOLDER is its folder `slides`.

As nbconvert makes them they load reveal.js from the network. To show them
without one, put it beside them, and say so:

    npm install --prefix build/slides reveal.js@4 requirejs
    python tools/slides.py --local build/slides 01
"""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path

import workshop.nofmt  # noqa: F401  (first, or nbformat takes seconds)

# isort: split
import nbformat
from nbconvert import SlidesExporter

from tools.build import ROOT

LINK = re.compile(r"\]\((\.\./|)([\w/]+)\.(?:ipynb|md)")
PICTURES = ROOT / "notebooks" / "pictures"


def main() -> None:
    """Read the command line and write a page for each lesson."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--local", action="store_true")
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    folder = options.folder or ROOT / "build" / "slides"
    shutil.copytree(PICTURES, folder / "pictures", dirs_exist_ok=True)
    exporter = SlidesExporter()
    exporter.reveal_scroll = True  # a long cell can be read to its end
    # Room for lines of 79 columns.
    exporter.reveal_width, exporter.reveal_height = "1280", "720"
    if options.local:
        exporter.reveal_url_prefix = "node_modules/reveal.js"
        exporter.require_js_url = "node_modules/requirejs/require.js"
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        if not options.names or path.name.startswith(tuple(options.names)):
            page, _ = exporter.from_notebook_node(cut(path))
            to = folder / f"{path.stem}.slides.html"
            to.write_text(page, "utf-8")


def cut(path: Path) -> nbformat.NotebookNode:
    """Read a notebook and say of each cell where its slide begins."""
    book = nbformat.read(path, as_version=4)
    for cell in book.cells:
        kind = "-"
        if cell.cell_type == "markdown":
            kind = "slide" if cell.source.startswith("#") else "subslide"
            cell.source = LINK.sub(page_of, cell.source)
        cell.metadata["slideshow"] = {"slide_type": kind}
    return book


def page_of(link: re.Match[str]) -> str:
    """Return the start of a link to a notebook as one to its page."""
    folder = link[1] or "../notebooks/"
    return f"]({folder}{link[2]}.html"


if __name__ == "__main__":
    main()
