"""Take the pictures of what moves, from the real thing.

    python tools/pictures.py            all of them
    python tools/pictures.py board      only these

It opens the lessons in JupyterLab and a headless Chromium, runs them, and
takes the interactive part as it then stands, twice as sharp as a page shows
it. `readme` is an animation: tokens arrive, a timeline, a verdict.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, Page

from tests.browser import Lab, Notebook, lab
from tools.build import ROOT

FOLDER = ROOT / "notebooks" / "pictures"
# The lesson of each part, and what of its page to take.
PARTS = {
    "slider": ("01", ".jupyter-widgets"),
    "explorer": ("04", ".jupyter-widgets"),
    "panel": ("06", ".jupyter-widgets"),
    "chat": ("10", ".workshop-chat"),
    "board": ("11", ".jupyter-widgets"),
}
ANSWER = """
from workshop.checks import check

async def pieces(llm, question):
    found = []
    async for chunk in llm.astream(question):
        if chunk.text:
            found.append(chunk.text)
    return found

await check("00.1", pieces)
"""
TIMELINE = """
import asyncio
from workshop.observe import Timeline

with Timeline() as timeline:
    await asyncio.gather(*(llm.ainvoke(f"Table {n}?") for n in range(1, 9)))
timeline.plot()
"""


def main(names: list[str]) -> int:
    """Take the pictures with these names, or all."""
    FOLDER.mkdir(exist_ok=True)
    with lab(ttft=0.25, per_token=0.04, scale=2) as opened:
        for name in names or [*PARTS, "readme"]:
            if name == "readme":
                film(opened)
            else:
                still(opened, name)
    return 0


def still(opened: Lab, name: str) -> None:
    lesson, part = PARTS[name]
    notebook = opened.open(lesson)
    notebook.run_all()
    notebook.finished(seconds=180)
    whole = notebook.panel.locator(f".jp-OutputArea-output {part}").first
    whole.scroll_into_view_if_needed()
    use(name, notebook, whole)
    opened.page.wait_for_timeout(3000)
    picture = Image.open(io.BytesIO(whole.screenshot()))
    save(picture, FOLDER / f"{name}.png")


def use(name: str, notebook: Notebook, part: Locator) -> None:
    """Do with it what a reader would do first."""
    if name == "explorer":
        part.get_by_label("updates").check()
        part.get_by_label("custom").check()
        part.get_by_role("button", name="Run").click()
    elif name in ("panel", "board"):
        part.get_by_role("button", name="Start").click()
    elif name == "chat":
        page = notebook.panel.frame_locator(".workshop-chat")
        box = page.get_by_role("textbox")
        box.fill("What is the price of the soup?")
        box.press("Enter")


def film(opened: Lab) -> None:
    """Run three cells of lesson 00 and take them while they work."""
    notebook = opened.open("00")
    notebook.run_all()
    notebook.finished(seconds=60)
    page = opened.page
    page.keyboard.press("Control+b")
    frames: list[Image.Image] = []
    for code in (TIMELINE, ANSWER):
        cell = notebook.add_cell(code.strip())
        cell.scroll_into_view_if_needed()
        frames += list(taken(page, cell, seconds=4))
    frames[0].save(
        FOLDER / "readme.webp",
        save_all=True,
        append_images=frames[1:],
        duration=250,
        loop=0,
        quality=60,
        method=6,
    )


def taken(page: Page, cell: Locator, seconds: float) -> Iterator[Image.Image]:
    for _ in range(round(seconds * 4)):
        yield Image.open(io.BytesIO(page.screenshot()))
        page.wait_for_timeout(250)


def save(picture: Image.Image, path: Path) -> None:
    """Keep 64 colours: a third of the bytes, and nobody sees it."""
    picture.convert("RGB").quantize(64).save(path, optimize=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
