"""A person at JupyterLab: a server on loopback and a headless Chromium.

    python tests/browser.py --screenshots DIR [NAME ...]

runs the notebooks (those whose names start with NAME) and leaves pictures
in DIR: light and dark theme, a narrow window, and the static HTML page.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import workshop.nofmt  # noqa: F401  (first, or nbformat takes seconds)

# isort: split
import nbformat
import pytest
from nbconvert import HTMLExporter
from playwright.sync_api import (
    Browser,
    Error,
    Locator,
    Page,
    Playwright,
    expect,
    sync_playwright,
)

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
# The longest wait for anything that a person waits for; only a failure
# takes as long.
SECONDS = 40
# JupyterLab marks tracebacks so, too.
STDERR = "[data-mime-type='application/vnd.jupyter.stderr']"
EXECUTABLES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false"},
    "apputils-extension/themes": {"theme": "JupyterLab Light"},
}
SERVE = "import workshop.nofmt; from jupyterlab.labapp import main; main()"


class NoBrowser(Exception):
    """Says what was tried to start a Chromium or Chrome, and the result."""


@contextmanager
def browser_needed() -> Iterator[None]:
    """Skip a test that finds no browser; where CI is set it fails."""
    try:
        yield
    except NoBrowser as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


def eventually(
    condition: Callable[[], bool], what: str, seconds: float = SECONDS
) -> None:
    """Return as soon as the condition holds; raise TimeoutError if never."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"never happened: {what}")
        time.sleep(0.1)


@dataclass
class Notebook:
    """A notebook in a tab of its own, which may be behind another."""

    page: Page
    tab: Locator
    panel: Locator
    tags: list[list[str]]  # of each code cell

    def show(self) -> None:
        """Bring the notebook to the front."""
        self.tab.click()
        self.panel.wait_for(state="visible")

    def cell(self, number: int) -> Locator:
        """The code cell with this number, from 0."""
        return self.panel.locator(".jp-CodeCell").nth(number)

    def _texts(self, part: str) -> list[str]:
        cells = self.panel.locator(f".jp-CodeCell {part}")
        return cells.evaluate_all("cells => cells.map(c => c.textContent)")

    def prompts(self) -> list[str]:
        """What stands beside each code cell: `[ ]:`, `[*]:` or `[1]:`."""
        return self._texts(".jp-InputPrompt")

    def errors(self) -> list[str]:
        """Errors and warnings of cells that do not announce any."""
        found = []
        for number, tags in enumerate(self.tags):
            if "raises-exception" not in tags:
                found += self.cell(number).locator(STDERR).all_inner_texts()
        return found

    def run_all(self) -> None:
        """Choose Run → Run All Cells, and wait until they are queued."""
        # The status bar, once it is about this notebook, says when a kernel
        # is attached. The circle in the toolbar is idle before that, too.
        status = self.page.locator("#jp-main-statusbar")
        expect(status).to_contain_text(self.tab.inner_text())
        expect(status).to_contain_text("Python 3 (ipykernel) | Idle")
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        name = "Run All Cells"
        self.page.get_by_role("menuitem", name=name, exact=True).click()
        eventually(lambda: set(self.prompts()) != {"[ ]:"}, "cells are run")

    def finished(self, seconds: float = SECONDS) -> None:
        """Wait until every cell has run, or one failed that should not."""

        def done() -> bool:
            prompts = self.prompts()
            if "[*]:" in prompts:
                return False
            # An error, even one that is announced, blanks the prompts of
            # the cells that are still to come.
            return "[ ]:" not in prompts or bool(self.errors())

        eventually(done, "all cells have run", seconds)

    def add_cell(self, code: str) -> Locator:
        """Add a cell after the last code cell, run it and return it."""
        count = len(self.prompts())
        self.cell(count - 1).locator(".jp-InputPrompt").click()
        self.page.keyboard.press("b")
        self.tags.append([])
        cell = self.cell(count)
        cell.locator(".cm-content").click()
        self.page.keyboard.insert_text(code)
        self.page.keyboard.press("Shift+Enter")
        return cell

    def interrupt(self) -> None:
        """Press ■ in the toolbar."""
        name = "Interrupt the kernel"
        self.panel.get_by_role("button", name=name).click()


@dataclass
class Lab:
    """A JupyterLab in a browser; all its kernels share one model."""

    page: Page
    model: str  # its address
    folder: Path
    hosts: set[str]  # host:port of everything that the page requested

    def open(self, name: str) -> Notebook:
        """Open the notebook whose name starts so, in a new tab."""
        [path] = self.folder.glob(f"{name}*.ipynb")
        cells = nbformat.read(path, as_version=4).cells
        files = self.page.locator(".jp-DirListing-item")
        files.filter(has_text=path.name).dblclick()
        tabs = self.page.locator(".lm-DockPanel-tabBar .lm-TabBar-tab")
        tab = tabs.filter(has_text=path.name)
        panel = self.page.locator(f"[id='{tab.get_attribute('data-id')}']")
        code = [cell for cell in cells if cell.cell_type == "code"]
        tags = [cell.metadata.get("tags", []) for cell in code]
        return Notebook(self.page, tab, panel, tags)

    def counts(self) -> dict[str, int]:
        """The model's meter, summed over all kernels."""
        return self.page.request.get(f"{self.model}/meter").json()

    def control(self, route: str, **body: object) -> None:
        """Tell the model: meter/reset, or the pace or faults of anybody."""
        answer = self.page.request.post(f"{self.model}/{route}", data=body)
        assert answer.ok, answer.text()


@contextmanager
def lab(
    ttft: float, per_token: float, theme: str = "Light", scale: float = 1
) -> Iterator[Lab]:
    """Start everything; raise NoBrowser where no Chromium is found.

    ``ttft`` and ``per_token`` (seconds) are the pace of the model;
    ``scale`` is how many pixels of the picture one of the page gets. The
    notebooks are copies without outputs: what a page shows later, its own
    kernel made.
    """
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home,
        sync_playwright() as playwright,
        chromium(playwright) as browser,
        _model(ttft, per_token) as model,
    ):
        folder = Path(home, "notebooks")
        _copies(folder)
        with _jupyter(Path(home), theme, model) as url:
            expect.set_options(timeout=SECONDS * 1000)
            page = browser.new_page(
                viewport={"width": 1200, "height": 900},
                device_scale_factor=scale,
            )
            page.set_default_timeout(SECONDS * 1000)
            hosts: set[str] = set()
            page.on(
                "request",
                lambda request: hosts.add(urlsplit(request.url).netloc),
            )
            page.goto(url, wait_until="commit")
            yield Lab(page, model, folder, hosts)


@contextmanager
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """Start a Chromium or Chrome; raise NoBrowser where none is found."""
    found = [path for path in map(shutil.which, EXECUTABLES) if path]
    choices = [{"executable_path": path} for path in found]
    choices += [{"channel": "chrome"}, {"channel": "msedge"}, {}]
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    flags = [*FLAGS, "--no-sandbox"] if is_root else FLAGS
    failures = []
    for choice in choices:
        try:
            browser = playwright.chromium.launch(args=flags, **choice)
        except Error as error:
            failures.append(f"{choice}: {error.message.splitlines()[0]}")
            continue
        yield browser
        browser.close()
        return
    raise NoBrowser("no Chromium or Chrome starts: " + "; ".join(failures))


@contextmanager
def _model(ttft: float, per_token: float) -> Iterator[str]:
    """Start a practice model; give its address."""
    command = [sys.executable, "-m", "workshop.practice", "--with-parent"]
    command += [f"--ttft={ttft}", f"--per-token={per_token}"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as run:
        yield run.stdout.readline().split()[-1].removesuffix("/v1")
        run.stdin.close()  # it stops


def _copies(folder: Path) -> None:
    folder.mkdir()
    for path in NOTEBOOKS.glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(notebook, folder / path.name)
    # Lesson 09 serves the finished service.
    shutil.copytree(ROOT / "solutions", folder.parent / "solutions")


@contextmanager
def _jupyter(home: Path, theme: str, model: str) -> Iterator[str]:
    """Start JupyterLab with nothing of its user; give its address."""
    settings = SETTINGS | {
        "apputils-extension/themes": {"theme": f"JupyterLab {theme}"}
    }
    for name, values in settings.items():
        path = home / f"settings/@jupyterlab/{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    token = secrets.token_hex(8)
    command = [sys.executable, "-c", SERVE, "--no-browser", "--allow-root"]
    command += [
        "--ServerApp.ip=127.0.0.1",
        "--ServerApp.port=0",
        f"--ServerApp.root_dir={home / 'notebooks'}",
        f"--IdentityProvider.token={token}",
    ]
    environment = os.environ | {
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "IPYTHONDIR": str(home / "ipython"),
        "WORKSHOP_MODEL": model,
    }
    log = home / "server.log"
    with log.open("w") as stderr:
        server = subprocess.Popen(command, env=environment, stderr=stderr)

    def port() -> int | None:
        if server.poll() is not None:
            raise RuntimeError(f"JupyterLab ended: {log.read_text()}")
        for path in home.glob("runtime/jpserver-*.json"):
            return json.loads(path.read_text() or "{}").get("port")
        return None

    try:
        eventually(lambda: port() is not None, "JupyterLab starts")
        yield f"http://127.0.0.1:{port()}/lab?token={token}"
    finally:
        server.terminate()  # it ends its kernels
        try:
            server.wait(SECONDS)
        finally:
            server.kill()


# --- pictures to look at

SLICE = 1400  # pixels, so that a viewer need not shrink a long page


def screenshots(to: Path, names: list[str]) -> None:
    """Leave pictures of the notebooks in the folder, as the top says."""
    to.mkdir(parents=True, exist_ok=True)
    for theme in "Light", "Dark":
        with lab(ttft=0.25, per_token=0.04, theme=theme) as opened:
            for name in names:
                notebook = opened.open(name)
                notebook.run_all()
                notebook.finished(seconds=180)
                stem = f"{name}_{theme.lower()}"
                _slices(notebook, 1200, to / stem)
                if theme == "Light":
                    opened.page.keyboard.press("Control+b")  # no side bar
                    _slices(notebook, 420, to / f"{name}_narrow")
                    opened.page.keyboard.press("Control+b")
                    _static(opened.page, to, name)


def _slices(notebook: Notebook, width: int, to: Path) -> None:
    """Make the window as high as the notebook, and take it in slices."""
    page, cells = notebook.page, notebook.panel.locator(".jp-Cell")
    height = 900
    # Cells get their real height when they come into view.
    for _ in range(4):
        page.set_viewport_size({"width": width, "height": height})
        cells.first.scroll_into_view_if_needed()
        page.wait_for_timeout(500)
        end = cells.last.evaluate("e => e.getBoundingClientRect().bottom")
        height = round(end) + 40
    _take(page, width, height, to)
    page.set_viewport_size({"width": 1200, "height": 900})


def _static(page: Page, to: Path, name: str) -> None:
    """Convert the stored notebook and take the page, dark and narrow too."""
    [path] = NOTEBOOKS.glob(f"{name}*.ipynb")
    for theme in "light", "dark":
        exporter = HTMLExporter(theme=theme)
        html = to / f"{name}_static_{theme}.html"
        html.write_text(exporter.from_filename(path)[0], "utf-8")
        tab = page.context.browser.new_page()
        tab.goto(html.as_uri(), wait_until="domcontentloaded")
        for width in (1000, 420):
            tab.set_viewport_size({"width": width, "height": 900})
            height = tab.evaluate("document.documentElement.scrollHeight")
            tab.set_viewport_size({"width": width, "height": height})
            _take(tab, width, height, to / f"{html.stem}_{width}")
        tab.close()


def _take(page: Page, width: int, height: int, to: Path) -> None:
    for number, top in enumerate(range(0, height, SLICE), 1):
        clip = {"x": 0, "y": top, "width": width}
        clip["height"] = min(SLICE, height - top)
        page.screenshot(path=f"{to}_{number}.png", clip=clip)


def main() -> None:
    """Read the command line and leave the pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--screenshots", type=Path, metavar="DIR", required=True
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    stems = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
    names = options.names or [stem[:2] for stem in stems]
    screenshots(options.screenshots, names)


if __name__ == "__main__":
    main()
