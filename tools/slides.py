"""Make slides of the lessons: `python tools/slides.py [FOLDER] [NAME ...]`.

Each heading begins a slide, each code cell continues downwards with its
stored output, and the answer to a prediction stays folded. The slides go to
build/slides unless you name another folder; NAME is how a lesson begins.

The pages load reveal.js from the network as nbconvert has it. Without one,
put a copy of it into the folder `reveal.js` beside the slides, and name it:

    python tools/slides.py --reveal reveal.js build/slides 01
"""

from __future__ import annotations

import argparse
from pathlib import Path

import workshop.nofmt  # noqa: F401  (first, or nbformat takes seconds)

# isort: split
import nbformat
from nbconvert import SlidesExporter

from tools.build import ROOT


def main() -> None:
    """Read the command line and write a page for each lesson."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--reveal", metavar="URL")
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    folder = options.folder or ROOT / "build" / "slides"
    folder.mkdir(parents=True, exist_ok=True)
    exporter = SlidesExporter()
    exporter.reveal_scroll = True  # a long cell can be read to its end
    if options.reveal:
        exporter.reveal_url_prefix = options.reveal
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        if not options.names or path.name.startswith(tuple(options.names)):
            page, _ = exporter.from_notebook_node(cut(path))
            to = folder / f"{path.stem}.slides.html"
            to.write_text(page, "utf-8")


def cut(path: Path) -> nbformat.NotebookNode:
    """Read a notebook and say of each cell where its slide begins."""
    book = nbformat.read(path, as_version=4)
    for cell in book.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("#"):
            kind = "slide"
        elif cell.cell_type == "markdown":
            kind = "subslide"
        else:
            kind = "-"
        cell.metadata["slideshow"] = {"slide_type": kind}
    return book


if __name__ == "__main__":
    main()
