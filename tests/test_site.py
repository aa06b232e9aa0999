"""The website: built once, its links followed, and a person who reads it."""

from __future__ import annotations

import functools
import http.server
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser import ROOT, browser_needed, chromium
from tools.site import SITE

pytest.importorskip("sphinx", reason="the website's packages are not there")

# The first test waits until all pages are made.
pytestmark = [pytest.mark.timeout(1200), pytest.mark.long]

INDEX = "index.html"
REPOSITORY = "https://github.com/NAME/REPO"
PAGES = (
    INDEX,
    "notebooks/01_sync_vs_async.html",
    "notebooks/17_break_it_on_purpose.html",
    "notebooks/glossary.html",
    "exercises/01_sync_vs_async.html",
)
# Of these lessons slides are made, and their links followed, too.
DECKS = ("01", "05")
PHONE = {"width": 375, "height": 700}
PAPER = {"width": 718, "height": 1047}  # A4 with margins of 1 cm
ON_PAPER = """() => {
  const all = (what) => [...document.querySelectorAll(`main ${what}`)];
  const answers = all("details > p:last-child");
  const cut = all("pre").filter((each) => each.scrollWidth > each.clientWidth);
  const empty = answers.filter((each) => !each.checkVisibility());
  const wide = document.documentElement.scrollWidth;
  return [answers.length, cut.length, empty.length, wide];
}"""


@pytest.fixture(scope="module")
def site() -> Path:
    slides = ["tools/slides.py", SITE / "slides", *DECKS]
    pages = ["tools/site.py", "--repository", REPOSITORY]
    for command in (pages, slides):
        run = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stderr
    return SITE


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    handler = functools.partial(Quiet, directory=site)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=[0.05]).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with ExitStack() as stack:
        playwright = stack.enter_context(sync_playwright())
        with browser_needed():
            opened = stack.enter_context(chromium(playwright))
        yield opened


@dataclass
class Parsed(HTMLParser):
    """What a page links to, and the places in it that links lead to."""

    text: str
    links: list[str] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.text)

    def handle_starttag(
        self, tag: str, attrs: list[tuple[str, str | None]]
    ) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.append(value)
            elif name in ("id", "name") and value:
                self.ids.add(value)


def dead(pages: dict[Path, Parsed]) -> Iterator[str]:
    """Yield the links within the site that lead to no file or no place."""
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            there = (path.parent / unquote(parts.path)).resolve()
            if not parts.path:
                there = path
            if there.is_dir():
                there /= INDEX
            places = pages[there].ids if there in pages else set()
            lost = parts.fragment and unquote(parts.fragment) not in places
            if lost or not there.exists():
                yield f"{path.name}: {link}"


def test_no_link_is_dead(site: Path) -> None:
    found = [p for p in site.rglob("*.html") if "_static" not in p.parts]
    pages = {path: Parsed(path.read_text("utf-8")) for path in found}
    assert sum(len(page.links) for page in pages.values()) > 1000
    assert [*dead(pages)] == []


def test_each_lesson_can_be_launched(site: Path) -> None:
    colab = "https://colab.research.google.com/github/NAME/REPO/blob/main"
    binder = "https://mybinder.org/v2/gh/NAME/REPO/main?urlpath=lab/tree"
    for folder in ("notebooks", "exercises", "solutions"):
        for path in sorted((ROOT / folder).glob("[0-9]*.ipynb")):
            name = f"{folder}/{path.name}"
            page = (site / name).with_suffix(".html").read_text("utf-8")
            assert f'href="{colab}/{name}"' in page
            assert f'href="{binder}/{name}"' in page
            assert f"!git clone {REPOSITORY} course" in page


def test_slides_begin_at_headings(site: Path) -> None:
    for deck in DECKS:
        [path] = (site / "slides").glob(f"{deck}_*.slides.html")
        text = path.read_text("utf-8")
        assert text.count("<section>") > text.count("<h2") > 5


def test_dead_links_are_found(tmp_path: Path) -> None:
    text = '<p id=a><a href="#a"><a href="#b"><a href="c.html"><img src=d>'
    path = tmp_path / "page.html"
    path.write_text(text)
    found = [*dead({path: Parsed(text)})]
    assert found == ["page.html: #b", "page.html: c.html", "page.html: d"]


def test_each_term_is_linked_by_its_lesson_or_before() -> None:
    lessons = sorted((ROOT / "source" / "lessons").glob("[0-9]*.py"))
    first: dict[str, str] = {}
    for path in lessons:
        for place in re.findall(
            r"glossary\.md#([\w-]+)", path.read_text("utf-8")
        ):
            first.setdefault(place, path.stem)
    text = (ROOT / "notebooks" / "glossary.md").read_text("utf-8")
    terms = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    assert len(terms) > 30
    late = []
    for term in terms:
        heading = term.partition("\n")[0]
        [lesson] = re.findall(r"\[Lesson (\d\d)\]", term)
        linked = first.get(heading.lower().replace(" ", "-"), "nowhere")
        if linked[:2] > lesson:
            late.append(f"{heading}: {linked}")
    assert late == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", PAGES)
def test_axe_finds_nothing(
    address: str, browser: Browser, page: str, scheme: str
) -> None:
    tab = browser.new_page(color_scheme=scheme)
    tab.goto(f"{address}/{page}")
    found = Axe().run(tab).response["violations"]
    tab.close()
    assert [f"{each['id']}: {each['help']}" for each in found] == []


@pytest.mark.parametrize("page", PAGES)
def test_page_fits_a_phone(address: str, browser: Browser, page: str) -> None:
    tab = browser.new_page(viewport=PHONE)
    tab.goto(f"{address}/{page}")
    wide = tab.evaluate("document.documentElement.scrollWidth")
    tab.close()
    assert wide == PHONE["width"]


def test_nothing_is_lost_on_paper(site: Path, browser: Browser) -> None:
    tab = browser.new_page(viewport=PAPER)
    tab.emulate_media(media="print")
    folded = 0
    for path in site.glob("*/*.html"):
        if path.parent.name == "slides":
            continue
        tab.goto(path.as_uri())
        answers, *lost = tab.evaluate(ON_PAPER)
        folded += answers
        assert lost == [0, 0, PAPER["width"]], path
    tab.close()
    assert folded > 200


def test_pages_ask_nobody_else(address: str, browser: Browser) -> None:
    tab = browser.new_page()
    asked: set[str] = set()
    tab.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
    for page in PAGES:
        tab.goto(f"{address}/{page}")
    tab.close()
    assert asked == {urlsplit(address).netloc}


@pytest.mark.parametrize(
    ("words", "title"),
    [
        ("This event loop is already running", "Keep the event loop free"),
        ("does not support async methods", "Break it on purpose"),
        ("Event loop is closed", "error up by its words"),
    ],
)
def test_search_finds_an_error(
    address: str, browser: Browser, words: str, title: str
) -> None:
    tab = browser.new_page()
    tab.goto(f"{address}/search.html?q={quote(words)}")
    results = tab.locator("#search-results")
    expect(results).to_contain_text(title, timeout=20_000)
    tab.close()
