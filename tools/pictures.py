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

import nbformat
from PIL import Image
from playwright.sync_api import Locator

from tests.browser import Lab, Notebook, lab
from tools.build import METADATA, ROOT

FOLDER = ROOT / "notebooks" / "pictures"
# The lesson of each part, and what of its page to take.
PARTS = {
    "slider": ("01", ".jupyter-widgets"),
    "explorer": ("04", ".jupyter-widgets"),
    "panel": ("06", ".jupyter-widgets"),
    "chat": ("10", ".workshop-chat"),
    "board": ("11", ".jupyter-widgets"),
}
# What the animation runs, cell by cell.
FILM = (
    """
async for chunk in llm.astream("Who are you?"):
    print(chunk.text, end="|")
""",
    """
async def ask(table):
    async for chunk in llm.astream(f"Table {table}: what is the soup?"):
        pass

with Timeline() as timeline:
    await asyncio.gather(ask(1), ask(2), ask(3), ask(4))
timeline.plot()
""",
    """
async def pieces(llm, question):
    answer = await llm.ainvoke(question)
    return [answer.text]

await check("00.1", pieces)
""",
    """
async def pieces(llm, question):
    found = []
    async for chunk in llm.astream(question):
        if chunk.text:
            found.append(chunk.text)
    return found

await check("00.1", pieces)
""",
)
SETUP = """
import asyncio
from langchain_openai import ChatOpenAI
from workshop.checks import check
from workshop.model import connect
from workshop.observe import Timeline

model = connect()
llm = ChatOpenAI(model=model.name)
"""


def main(names: list[str]) -> int:
    """Take the pictures with these names, or all."""
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
    picture = Image.open(io.BytesIO(whole.screenshot())).convert("RGB")
    # 64 colours: a third of the bytes, and nobody sees it.
    picture.quantize(64).save(FOLDER / f"{name}.png", optimize=True)


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
    """Run a few cells and take them while they work."""
    page = opened.page
    page.set_viewport_size({"width": 760, "height": 560})
    book = nbformat.v4.new_notebook(metadata=METADATA)
    book.cells.append(nbformat.v4.new_code_cell(SETUP.strip()))
    nbformat.write(book, opened.folder / "film.ipynb")
    notebook = opened.open("film")
    page.keyboard.press("Control+b")  # no side bar
    notebook.run_all()
    notebook.finished(seconds=90)
    # Slow enough for the camera; the animation then runs faster.
    opened.control("pace", ttft=1.0, per_token=0.35)
    frames: list[Image.Image] = []
    times: list[int] = []
    for code in FILM:
        cell = notebook.add_cell(code.strip())
        frames += taken(notebook, cell)
        times += [150] * (len(frames) - len(times))
        times[-1] = 2500
    frames[0].save(
        FOLDER / "readme.webp",
        save_all=True,
        append_images=frames[1:],
        duration=times,
        loop=0,
        quality=60,
        method=6,
    )


def taken(notebook: Notebook, cell: Locator) -> Iterator[Image.Image]:
    """Yield pictures of the notebook until the cell is done."""
    prompt = cell.locator(".jp-InputPrompt")
    done = False
    while not done:
        done = "*" not in prompt.inner_text()
        if done:
            notebook.page.wait_for_timeout(500)
        cell.evaluate("e => e.scrollIntoView({block: 'end'})")
        shot = notebook.panel.screenshot(scale="css")
        yield Image.open(io.BytesIO(shot))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
