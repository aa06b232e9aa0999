"""The shape of every notebook, and the links of every page.

A notebook that is not built yet is judged by its source, without outputs.
A rule is a generator: it takes a notebook and yields one sentence for each
fault. Beside each rule stand changes to a sound notebook that it must notice.
"""

import ast
import io
import json
import re
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from tools.build import (
    FOLDERS,
    MACHINE,
    ROOT,
    Target,
    code,
    current,
    plan,
    seconds_of,
    tags,
)
from tools.minutes import minutes_of

REASONS = {"live-ui", "wall-clock", "needs-key"}
UNCHECKED_TAGS = {"nbval-ignore-output", "nbval-skip"}
TAGS = (
    REASONS
    | UNCHECKED_TAGS
    | {"raises-exception", "solution", "cheat-sheet", "folded"}
)
# Every cell whose output no test compares: (notebook, reason, how many).
UNCHECKED: list[tuple[str, str, int]] = []
VERDICTS = "✅❌⬜"
EMOJI = re.compile("[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\ufe0f]")
KEY = re.compile(r"\b(?:sk-|lsv2_|ghp_|hf_|AKIA)[A-Za-z0-9_-]{12,}")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"""(?:\]\(|(?:href|src)=["'])([^)"'\s]+)""")
DISPLAY_TRICKS = {
    "display_id",
    "update_display",
    "clear_output",
    "interact",
    "interactive_output",
}


@dataclass
class Book(Target):
    """A notebook with the size of its file in bytes."""

    size: int = 0


Rule = Callable[[Book], Iterator[str]]
Change = Callable[[list[NotebookNode]], object]
RULES: list[Rule] = []
BAD: list[tuple[Rule, str, Change]] = []


def rule(*changes: Change, of: str = "notebooks") -> Callable[[Rule], Rule]:
    """Register a rule, and changes to a notebook of `of` that break it."""

    def register(function: Rule) -> Rule:
        RULES.append(function)
        BAD.extend((function, of, change) for change in changes)
        return function

    return register


@cache
def books() -> list[Book]:
    found = []
    for target in plan(ROOT):
        stored = target.stored()
        if stored and current(target, stored):
            size = target.path.stat().st_size
            seconds = seconds_of(stored)
            found.append(Book(target.path, stored.cells, seconds, size))
        else:
            found.append(Book(target.path, target.cells))
    return found


def prose(cell: NotebookNode) -> str:
    """Return the text of a markdown cell without its code blocks."""
    return FENCE.sub("", cell.source) if cell.cell_type == "markdown" else ""


def each(book: Book, kind: str) -> Iterator[tuple[NotebookNode, str]]:
    for index, cell in enumerate(book.cells):
        if cell.cell_type == kind:
            yield cell, book.where(index)


def trees(book: Book) -> Iterator[tuple[ast.Module, NotebookNode, str]]:
    for cell, where in each(book, "code"):
        try:
            yield ast.parse(cell.source), cell, where
        except SyntaxError:
            continue


def gives_verdict(cell: NotebookNode) -> bool:
    return cell.cell_type == "code" and "await check(" in cell.source


def output_text(cell: NotebookNode) -> str:
    return json.dumps(cell.get("outputs", []), ensure_ascii=False)


# --- changes that make a sound notebook bad


def text(source: str) -> Change:
    """Put this into the second code cell."""
    return lambda cells: cells[4].update(source=source)


def prints(words: str, stream: str = "stdout") -> Change:
    out = new_output("stream", name=stream, text=words)
    return lambda cells: cells[4].update(outputs=[out])


def tagged(*names: str) -> Change:
    return lambda cells: cells[4].metadata.update(tags=list(names))


# --- shape


@rule(lambda cells: cells.append(new_markdown_cell("x" * 150_000)))
def an_ipynb_stays_under_150_kb(book: Book) -> Iterator[str]:
    if book.size >= 150_000:
        yield f"{book}: {book.size} bytes"


MUSEUM = ("17", "18")  # one looks things up there


@rule(lambda cells: cells.append(new_markdown_cell("word " * 4000)))
def a_lesson_or_a_lab_takes_at_most_25_minutes(book: Book) -> Iterator[str]:
    is_lesson = book.path.parent.name == "notebooks"
    if is_lesson and book.path.stem.startswith(MUSEUM):
        return
    minutes = minutes_of(book.cells, book.seconds)
    if minutes > 25 and book.path.parent.name != "solutions":
        yield f"{book}: {minutes} minutes"


@rule(
    lambda cells: cells[0].update(source="## Small"),
    lambda cells: cells[3].update(source="# Second"),
    lambda cells: cells.insert(0, new_markdown_cell("Before.")),
)
def one_title_stands_in_the_first_cell(book: Book) -> Iterator[str]:
    for index, cell in enumerate(book.cells):
        titles = len(re.findall(r"^# ", prose(cell), re.MULTILINE))
        if titles != (1 if index == 0 else 0):
            yield f"{book.where(index)}: {titles} titles"


@rule(text(" \n"), lambda cells: cells[3].update(source=""))
def no_cell_is_empty(book: Book) -> Iterator[str]:
    for index, cell in enumerate(book.cells):
        if not cell.source.strip():
            yield book.where(index)


@rule(text(f"x = '{'a' * 80}'"))
def code_lines_have_at_most_79_columns(book: Book) -> Iterator[str]:
    for cell, where in each(book, "code"):
        longest = max(map(len, cell.source.splitlines()), default=0)
        if longest > 79:
            yield f"{where}: {longest} columns"


@rule(lambda cells: cells.__setitem__(slice(5, 5), [new_code_cell("1")] * 2))
def at_most_two_code_cells_follow_each_other(book: Book) -> Iterator[str]:
    kinds = [cell.cell_type for cell in book.cells]
    for index in range(2, len(kinds)):
        if kinds[index - 2 : index + 1] == ["code"] * 3:
            yield f"{book.where(index)}: a third code cell in a row"


@rule(lambda cells: [cells.insert(i, new_code_cell("1")) for i in (9, 7, 5)])
def code_follows_prose(book: Book) -> Iterator[str]:
    """At least 80 %; a cell that only gives the verdict is not counted."""
    before = [
        book.cells[index - 1].cell_type
        for index, cell in enumerate(book.cells)
        if cell.cell_type == "code"
        and not cell.source.startswith("await check(")
    ]
    if before.count("markdown") < 0.8 * len(before):
        yield f"{book}: {before.count('markdown')} of {len(before)} code cells"


# --- labs


@rule(
    lambda cells: cells.__delitem__(slice(2, 10)),
    lambda cells: cells[4].update(source="answer()"),
    lambda cells: cells[5].update(source="A hint."),
    of="exercises",
)
def a_lab_has_two_to_four_tasks_with_hints(book: Book) -> Iterator[str]:
    if book.path.parent.name == "notebooks":
        return
    whole = "\n".join(cell.source for cell in book.cells)
    _, *tasks = re.split(r"^## Task ", whole, flags=re.MULTILINE)
    if not 2 <= len(tasks) <= 4:
        yield f"{book}: {len(tasks)} headings begin with `## Task `"
    for number, task in enumerate(tasks, 1):
        name = f"{book.path.stem[:2]}.{number}"
        if f'await check("{name}"' not in task:
            yield f'{book}: task {number} has no `await check("{name}", …)`'
        if task.count("<details>") < 2:
            yield f"{book}: task {number} has fewer than two hints"


@rule(
    lambda cells: cells[3].update(source="# solution\nx = 1"),
    lambda cells: cells[3].metadata.update(tags=["solution"]),
    lambda cells: cells[3].update(source="x = 1"),
    of="exercises",
)
def an_exercise_has_stubs_and_no_answer(book: Book) -> Iterator[str]:
    if book.path.parent.name != "exercises":
        return
    for index, cell in enumerate(book.cells):
        if "# solution" in cell.source or "solution" in tags(cell):
            yield f"{book.where(index)}: gives the answer away"
    stubs = sum(c.source.count("# TODO") for c in code(book.cells))
    verdicts = sum(map(gives_verdict, book.cells))
    if stubs < verdicts:
        yield f"{book}: {verdicts} verdicts, but {stubs} stubs"


@rule(lambda cells: cells[3].update(source="# TODO\n..."), of="solutions")
def a_solution_leaves_nothing_to_do(book: Book) -> Iterator[str]:
    for cell, where in each(book, "code"):
        if book.path.parent.name == "solutions" and "# TODO" in cell.source:
            yield f"{where}: a TODO is left"


@rule(
    lambda cells: cells[4].update(outputs=[]),
    lambda cells: cells[4].outputs[0].update(text="❌ 01.1 wrong"),
    of="solutions",
)
def stored_verdicts_are_the_expected_ones(book: Book) -> Iterator[str]:
    mark = "✅" if book.path.parent.name == "solutions" else "⬜"
    for cell, where in each(book, "code"):
        if gives_verdict(cell) and mark not in output_text(cell):
            yield f"{where}: its output lacks {mark}"


# --- links


@rule(
    lambda cells: cells[3].update(source="[gone](nowhere.ipynb)"),
    lambda cells: cells[3].update(source="[gone](#No-such-heading)"),
)
def links_resolve(book: Book) -> Iterator[str]:
    for cell, where in each(book, "markdown"):
        for target in dead_links(prose(cell), book.path, headings(book)):
            yield f"{where}: {target} leads nowhere"


def headings(book: Book) -> set[str]:
    """Return the anchors of a notebook, in JupyterLab's spelling."""
    whole = "\n".join(prose(cell) for cell in book.cells)
    found = re.findall(r"^#+ (.+)$", whole, re.MULTILINE)
    return {heading.strip().replace(" ", "-") for heading in found}


def dead_links(page: str, path: Path, anchors: set[str]) -> Iterator[str]:
    """Yield the links to files or headings that do not exist."""
    for target in LINK.findall(page):
        file, _, anchor = target.partition("#")
        # A badge is of whoever forks; its workflow is here.
        file = file.replace("../../actions/", ".github/")
        file = file.removesuffix("/badge.svg")
        if re.match(r"[a-z]+:", target):
            continue
        place = (path.parent / file).resolve()
        if not place.exists() and place not in {b.path for b in books()}:
            yield target
        if not file and anchor not in anchors:
            yield target


def slugs(page: str) -> set[str]:
    """Return the anchors of a page, in GitHub's spelling."""
    found = re.findall(r"^#+ (.+)$", FENCE.sub("", page), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in found
    }


# --- code that nbval can compare


@rule(text("%pip install x"), text("!python x.py"), text("%%time\nx = 1"))
def code_is_plain_python(book: Book) -> Iterator[str]:
    """A cell that is meant to be wrong says so by its tag."""
    for cell, where in each(book, "code"):
        try:
            ast.parse(cell.source)
        except SyntaxError:
            if "raises-exception" not in tags(cell):
                yield f"{where}: a magic, a shell command or a syntax error"


@rule(text("x = 1;"), text("f();  # quiet"))
def no_line_ends_in_a_semicolon(book: Book) -> Iterator[str]:
    """nbval ignores it, and then sees an output that is not stored."""
    for _, cell, where in trees(book):
        lines = io.StringIO(cell.source).readline
        last = ""
        for token in tokenize.generate_tokens(lines):
            if token.type == tokenize.NEWLINE and last == ";":
                yield f"{where}: write `_ = …` instead"
            if token.type != tokenize.COMMENT:
                last = token.string


@rule(
    text("display(x, display_id='a')"),
    text("clear_output(wait=True)"),
    text("IPython.display.clear_output()"),
    text("interact(f, n=3)"),
)
def no_output_is_replaced(book: Book) -> Iterator[str]:
    """nbval keeps the first output; use a widget's own value instead."""
    for tree, cell, where in trees(book):
        names = {
            getattr(node, field, None)
            for node in ast.walk(tree)
            for field in ("id", "attr", "arg", "name")
        }
        used = names & DISPLAY_TRICKS
        if used and not UNCHECKED_TAGS & set(tags(cell)):
            yield f"{where}: {', '.join(sorted(used))}"


@rule(
    text("with out:\n    await f()"),
    text("with self.out:\n    async for x in y:\n        print(x)"),
    text("with widgets.Output():\n    await f()"),
)
def no_await_inside_an_output_widget(book: Book) -> Iterator[str]:
    """It would catch what others print meanwhile; use append_stdout."""
    waits = (ast.Await, ast.AsyncFor, ast.AsyncWith)
    for tree, _, where in trees(book):
        for node in ast.walk(tree):
            if not isinstance(node, ast.With):
                continue
            managers = [ast.unparse(item) for item in node.items]
            output = any(
                re.fullmatch(r"[\w.]+|.*Output\(\)", w) for w in managers
            )
            if output and any(isinstance(n, waits) for n in ast.walk(node)):
                yield f"{where}: with {', '.join(managers)}"


@rule(text("asyncio.create_task(f())"), text("x = 1\ntg.create_task(f())"))
def no_task_outlives_its_cell(book: Book) -> Iterator[str]:
    """What it prints later is stored nowhere; await it in this cell."""
    for tree, _, where in trees(book):
        last = ast.unparse(tree.body[-1]) if tree.body else ""
        if re.match(r"[\w.]*(create_task|ensure_future)\(", last):
            yield f"{where}: ends by making a task"


# --- tags and outputs


@rule(
    tagged("nbval-skip"),
    tagged("nbval-ignore-output"),
    tagged("wall-clock"),
    tagged("hide-input"),
    text("# NBVAL_IGNORE_OUTPUT\nx = 1"),
)
def unchecked_cells_name_their_reason(book: Book) -> Iterator[str]:
    for index, cell in enumerate(book.cells):
        given, where = set(tags(cell)), book.where(index)
        if given - TAGS:
            yield f"{where}: unknown tag {', '.join(given - TAGS)}"
        if bool(given & UNCHECKED_TAGS) != bool(given & REASONS):
            yield f"{where}: {given} needs a reason ({', '.join(REASONS)})"
        if "NBVAL_" in cell.source:
            yield f"{where}: use a tag instead of a comment"


@rule(
    tagged("raises-exception"),
    lambda cells: cells[4].outputs.append(new_output("error")),
)
def errors_are_announced(book: Book) -> Iterator[str]:
    for cell, where in each(book, "code"):
        raised = any(out.output_type == "error" for out in cell.outputs)
        if raised != ("raises-exception" in tags(cell)):
            yield f"{where}: raised: {raised}, tags: {tags(cell)}"


@rule(prints("x.py:1: UserWarning", "stderr"))
def nothing_is_written_to_stderr(book: Book) -> Iterator[str]:
    for cell, where in each(book, "code"):
        errors = any(out.get("name") == "stderr" for out in cell.outputs)
        if errors and "raises-exception" not in tags(cell):
            yield f"{where}: a warning or a log line"


@rule(
    lambda cells: cells[4].update(execution_count=7),
    lambda cells: cells[4].update(execution_count=None),
)
def runs_are_numbered_from_one(book: Book) -> Iterator[str]:
    ran = [c for c in code(book.cells) if "nbval-skip" not in tags(c)]
    counts = [cell.execution_count for cell in ran]
    if counts != list(range(1, len(ran) + 1)):
        yield f"{book}: {counts}"


@rule(text("key = 'sk-abcdefghijklmnop'"), prints("lsv2_pt_0123456789abcdef"))
def nothing_looks_like_a_key(book: Book) -> Iterator[str]:
    for index, cell in enumerate(book.cells):
        if KEY.search(cell.source + output_text(cell)):
            yield book.where(index)


@rule(prints("/home/ada/x.py"), text("open('C:\\\\Users\\\\ada')"))
def no_path_of_a_machine_is_named(book: Book) -> Iterator[str]:
    for index, cell in enumerate(book.cells):
        found = MACHINE.search(cell.source + str(cell.get("outputs", "")))
        if found:
            yield f"{book.where(index)}: {found[0]}"


@rule(prints("done 🎉"), lambda cells: cells[3].update(source="Well done ⭐"))
def only_verdicts_are_emoji(book: Book) -> Iterator[str]:
    for index, cell in enumerate(book.cells):
        found = set(EMOJI.findall(cell.source + output_text(cell)))
        if found - set(VERDICTS):
            yield f"{book.where(index)}: {found - set(VERDICTS)}"


# --- the tests


@pytest.mark.parametrize("check", RULES, ids=lambda r: r.__name__)
def test_rule(check: Rule) -> None:
    faults = [fault for book in books() for fault in check(book)]
    if faults:
        pytest.fail("\n".join(faults), pytrace=False)


def test_there_are_notebooks_to_look_at() -> None:
    assert {book.path.parent.name for book in books()} == set(FOLDERS)


def test_cells_that_nothing_compares_are_listed_here() -> None:
    found = [
        (str(book), reason, number)
        for book in books()
        for reason in sorted(REASONS)
        if (number := sum(reason in tags(c) for c in book.cells))
    ]
    assert found == UNCHECKED


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("*.md")), ids=lambda path: path.name
)
def test_links_of_a_page_resolve(path: Path) -> None:
    page = path.read_text("utf-8")
    assert not [*dead_links(FENCE.sub("", page), path, slugs(page))]


def test_dead_links_of_a_page_are_found() -> None:
    page = "# Set up\n[a](#set-up) [b](gone.md) [c](#no) [d](https://x.org)"
    badge = "../../actions/workflows/no.yml/badge.svg"
    page = f"{page} ![e]({badge})"
    found = [*dead_links(page, ROOT / "README.md", slugs(page))]
    assert found == ["gone.md", "#no", badge]


# --- each rule against notebooks that it must and must not accept


def sound(folder: str) -> list[NotebookNode]:
    """Return the cells of a notebook that breaks no rule."""
    if folder == "notebooks":
        cells = [new_markdown_cell("# Measure"), new_markdown_cell("Goal.")]
        for number in range(2, 20):
            cells.append(
                new_markdown_cell(f"Step {number}.")
                if number % 2
                else new_code_cell("print(1)")
            )
        prints("1\n")(cells)
    else:
        stub = "# TODO (about 1 line)\n..." if folder == "exercises" else "1"
        mark = "⬜" if folder == "exercises" else "✅"
        cells = [new_markdown_cell("# Lab"), new_code_cell("import asyncio")]
        for number in (1, 2, 3):
            hints = "<details>Look.</details> " * 2
            line = new_output("stream", text=f"{mark} 01.{number}")
            cells += [
                new_markdown_cell(f"## Task {number}: do it"),
                new_code_cell(stub),
                new_code_cell(
                    f'await check("01.{number}", answer)', outputs=[line]
                ),
                new_markdown_cell(hints),
            ]
    for count, cell in enumerate(code(cells), 1):
        cell.execution_count = count
    return cells


def book_of(folder: str, cells: list[NotebookNode]) -> Book:
    size = sum(len(cell.source) for cell in cells)
    return Book(ROOT / folder / "01_sound.ipynb", cells, size=size)


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("check", RULES, ids=lambda r: r.__name__)
def test_rule_accepts_a_sound_notebook(check: Rule, folder: str) -> None:
    assert not [*check(book_of(folder, sound(folder)))]


@pytest.mark.parametrize(
    ("check", "folder", "change"),
    BAD,
    ids=[f"{function.__name__}-{n}" for n, (function, *_) in enumerate(BAD)],
)
def test_rule_notices(check: Rule, folder: str, change: Change) -> None:
    cells = sound(folder)
    change(cells)
    faults = [*check(book_of(folder, cells))]
    assert faults
    assert all(f"{folder}/01_sound.ipynb" in fault for fault in faults)


def test_every_rule_has_something_to_notice() -> None:
    assert {function for function, *_ in BAD} == set(RULES)
