"""The build, on a tiny course."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from tools import build
from tools.build import ROOT, BuildError, view

LESSON = """\
# %% [markdown]
# # Tiny
# more, and less

# %%
import base64
import os
import time

from IPython.display import display

print(f"{time.perf_counter():.3f} s", f"{time.time_ns()} ms")
# ls is a comment and stays one

# %% [markdown] tags=["cheat-sheet"]
# A picture and a value that differ in every run.

# %%
png = base64.b64encode(os.urandom(30)).decode()
words = f"<Figure: {time.perf_counter():.2f} s>"
display({"image/png": png, "text/plain": words}, raw=True)
object()

# %%
"the same"

# %%
"the same"

# %% tags=["raises-exception"]
import json

json.loads("{")
"""
LAB = """\
# %% [markdown]
# # Lab


# %%
def answer():
    # TODO (about 2 lines):
    # return the answer
    # solution
    number = 6 * 7

    return number


print("not started" if answer() is ... or not answer() else "passed")

# %% [markdown] tags=["solution"]
# Because.
"""


def tiny(root: Path) -> Path:
    for kind, source in {"lessons": LESSON, "labs": LAB}.items():
        folder = root / "source" / kind
        folder.mkdir(parents=True)
        (folder / "01_tiny.py").write_text(source, "utf-8")
    return root


def run(root: Path, *args: str) -> int:
    return build.main([*args, "--root", str(root)])


def notebooks(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*.ipynb")
    }


def cells(root: Path) -> list[nbformat.NotebookNode]:
    return nbformat.read(root / "notebooks/01_tiny.ipynb", 4).cells


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny course, built once with real kernels; do not change it."""
    root = tiny(tmp_path_factory.mktemp("course"))
    assert run(root) == 0
    return root


@pytest.fixture
def course(built: Path, tmp_path: Path) -> Path:
    """A copy of the built course that a test may change."""
    return shutil.copytree(built, tmp_path / "course")


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Execute nothing from here on; return what would have been."""
    names = []

    async def note(target: build.Target) -> None:
        names.append(str(target))

    monkeypatch.setattr(build, "execute", note)
    return names


# --- what is built


def test_the_course_is_as_its_sources_say() -> None:
    assert build.check(ROOT) == []


def test_a_lesson_is_executed_and_cleaned(built: Path) -> None:
    path = built / "notebooks/01_tiny.ipynb"
    notebook = nbformat.read(path, 4)
    seconds = notebook.metadata.pop("course")["seconds"]
    assert isinstance(seconds, int)
    assert notebook.metadata == build.METADATA
    runs = build.code(notebook.cells)
    assert [cell.execution_count for cell in runs] == [1, 2, 3, 4, 5]
    assert runs[2].outputs[0].execution_count == 3
    assert runs[3].id == f"{runs[2].id}-2"
    assert all(set(cell.metadata) <= {"tags"} for cell in notebook.cells)
    assert "# ls is a comment" in runs[0].source
    traceback = "\n".join(runs[4].outputs[0].traceback)
    assert "----> 3 json.loads" in traceback
    assert "(frames in library code: 3)" in traceback
    assert "\x1b" not in traceback
    assert not build.MACHINE.search(path.read_text("utf-8"))


def test_a_lab_becomes_exercise_and_solution(built: Path) -> None:
    books = {
        folder: nbformat.read(built / folder / "01_tiny.ipynb", 4).cells
        for folder in ("exercises", "solutions")
    }
    printed = {
        folder: cells[1].outputs[0].text for folder, cells in books.items()
    }
    assert printed == {"exercises": "not started\n", "solutions": "passed\n"}
    assert len(books["exercises"]) == 2
    assert books["solutions"][2].source == "Because."


def test_building_twice_gives_the_same_bytes(course: Path) -> None:
    before = notebooks(course)
    assert run(course, "--force", "01") == 0
    assert notebooks(course) == before


def test_fresh_renews_what_only_differs_in_time(
    course: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    duration = "77 s 7 ms\n"  # the whole text: any clock may show a 77

    async def prints_a_duration(target: build.Target) -> None:
        for cell in build.code(target.cells):
            cell.outputs = [new_output("stream", text=duration)]

    monkeypatch.setattr(build, "execute", prints_a_duration)
    assert run(course, "--force") == 0
    assert cells(course)[1].outputs[0].text != duration
    assert run(course, "--fresh") == 0
    assert cells(course)[1].outputs[0].text == duration


def test_failing_cells_are_named_and_nothing_is_written(
    course: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = notebooks(course)
    lessons = course / "source/lessons"
    head = "# %% [markdown]\n# # Tiny\n\n# %%\n"
    (lessons / "01_tiny.py").write_text(f"{head}7 / 0\n", "utf-8")
    dies = f"{head}import os\nos._exit(3)\n"
    (lessons / "02_dies.py").write_text(dies, "utf-8")
    assert run(course) == 1
    said = capsys.readouterr().out
    assert "notebooks/01_tiny.ipynb, cell 2 (7 / 0):" in said
    assert "ZeroDivisionError: division by zero" in said
    assert "notebooks/02_dies.ipynb, cell 2 (import os):\nKernel died" in said
    assert notebooks(course) == before


@pytest.mark.parametrize(
    ("tags", "output", "complaint"),
    [
        ([], new_output("stream", name="stderr", text="careful"), "careful"),
        ([], new_output("stream", text=str(ROOT)), "path of this machine"),
        ([], new_output("stream", text="/home/ada"), "path of this machine"),
        ([], new_output("error"), "callback"),
        (["raises-exception"], new_output("stream"), "raised nothing"),
    ],
)
def test_what_must_not_be_stored(
    tags: list[str], output: nbformat.NotebookNode, complaint: str
) -> None:
    cell = new_code_cell("1", metadata={"tags": tags}, outputs=[output])
    assert complaint in str(build.judge(cell))


def test_a_widget_is_stored_as_text() -> None:
    widget = {build.WIDGET: {"model_id": "1"}, "text/plain": "IntSlider()"}
    shown = new_code_cell("1", outputs=[new_output("display_data", widget)])
    assert build.judge(shown) is None
    assert shown.outputs[0].data == {"text/plain": "IntSlider()"}


def test_the_path_of_a_frame_is_not_stored() -> None:
    frames = ["\x1b[31mE\x1b[0m", "Cell In[1]", "File /a", "File /b", "E: x"]
    count = "    (frames in library code: 2)\n"
    assert [*build.short(frames)] == ["E", "Cell In[1]", count, "E: x"]


# --- what is executed again


def test_nothing_changed(course: Path, executed: list[str]) -> None:
    before = notebooks(course)
    assert run(course) == 0
    assert not executed
    assert notebooks(course) == before


def test_only_the_changed_source_is_executed(
    course: Path, executed: list[str]
) -> None:
    source = course / "source/lessons/01_tiny.py"
    source.write_text(LESSON.replace('"the same"', '"new"', 1), "utf-8")
    run(course)
    assert executed == ["notebooks/01_tiny.ipynb"]


def test_changed_text_is_not_executed(
    course: Path, executed: list[str]
) -> None:
    outputs = [c.outputs for c in cells(course) if c.cell_type == "code"]
    source = course / "source/lessons/01_tiny.py"
    source.write_text(LESSON.replace("A picture", "One picture"), "utf-8")
    assert run(course) == 0
    assert not executed
    assert cells(course)[2].source.startswith("One picture")
    assert outputs == [
        c.outputs for c in cells(course) if c.cell_type == "code"
    ]
    assert build.check(course) == []


def test_names_choose(course: Path, executed: list[str]) -> None:
    run(course, "01", "--force")
    assert len(executed) == 3
    assert run(course, "02") == 1
    assert len(executed) == 3


def test_a_build_never_leaves_the_practice_model(
    course: Path, executed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKSHOP_MODEL", "openai")
    monkeypatch.setenv("LANGSMITH_TRACING", "true")
    run(course)
    assert not {"WORKSHOP_MODEL", "LANGSMITH_TRACING"} & os.environ.keys()


# --- check


def edit(change: Callable[[nbformat.NotebookNode], object]) -> Callable:
    """Return a change of the stored lesson."""

    def apply(course: Path) -> None:
        path = course / "notebooks/01_tiny.ipynb"
        notebook = nbformat.read(path, 4)
        change(notebook)
        nbformat.write(notebook, path)

    return apply


def copy_lab(course: Path) -> None:
    lab = course / "source/labs/01_tiny.py"
    lab.rename(lab.with_name("02_other.py"))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (edit(lambda nb: nb.cells[3].update(source="1")), "cell 4"),
        (edit(lambda nb: nb.cells[3].metadata.update(tags=["x"])), "cell 4"),
        (edit(lambda nb: nb.cells[3].update(execution_count=None)), "never"),
        (edit(lambda nb: nb.cells[3].update(execution_count=9)), "counts"),
        (edit(lambda nb: nb.cells[3].update(id="other")), "ids"),
        (edit(lambda nb: nb.metadata.update(widgets={})), "metadata"),
        (edit(lambda nb: nb.cells.pop()), "missing"),
        (lambda c: (c / "exercises/01_tiny.ipynb").unlink(), "missing"),
        (lambda c: (c / "exercises/notes.txt").touch(), "remove it"),
        (
            lambda c: (c / "exercises/01_tiny.ipynb").write_text("<<<<"),
            "unreadable",
        ),
        (copy_lab, "no lesson has this name"),
        (
            lambda c: (c / "notebooks/01_cheat_sheet.md").write_text("old"),
            "01_cheat_sheet.md",
        ),
    ],
)
def test_check_says_what_is_off(
    change: Callable[[Path], object],
    complaint: str,
    course: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(course, "--check") == 0
    change(course)
    capsys.readouterr()
    assert run(course, "--check") == 1
    assert complaint in capsys.readouterr().out


# --- the cheat sheet


def test_tagged_cells_make_a_page() -> None:
    tag = {"tags": ["cheat-sheet"]}
    shown = [
        new_output("stream", text="not this"),
        new_output("execute_result", {"text/markdown": "| made |"}),
    ]
    cells = [
        new_markdown_cell("# Look\n\nprevious:"),
        new_markdown_cell("## Which?", metadata=tag),
        new_markdown_cell("[This](#Look)", metadata=tag),
        new_code_cell("1", metadata=tag, outputs=shown),
        new_code_cell("2", outputs=shown),
    ]
    path = ROOT / "notebooks" / "01_tiny.ipynb"
    [(page, text)] = build.sheet_of(build.Target(path, cells)).items()
    assert page == ROOT / "notebooks" / "01_cheat_sheet.md"
    assert text.split("\n\n") == [
        "# Cheat sheet",
        "Made by [Look](01_tiny.ipynb).",
        "## Which?",
        "[This](01_tiny.ipynb#Look)",
        "| made |\n",
    ]
    assert not build.sheet_of(build.Target(path, cells[:1]))


# --- the marker grammar


def test_lines_after_the_marker_become_dots() -> None:
    source = "\n".join(
        [
            "def f(x):",
            "    if x:",
            "        # TODO (about 2 lines)",
            "        # solution",
            "        a = x",
            "",
            "        return a",
            "",
            "    return 0",
        ]
    )
    assert view(source, "exercises").split("\n") == [
        "def f(x):",
        "    if x:",
        "        # TODO (about 2 lines)",
        "        ...",
        "",
        "    return 0",
    ]
    assert view(source, "solutions").split("\n") == [
        "def f(x):",
        "    if x:",
        "        a = x",
        "",
        "        return a",
        "",
        "    return 0",
    ]


def test_a_marker_at_the_margin_reaches_the_end_of_the_cell() -> None:
    source = "x = 1\n# TODO: y\n# with x\n# solution\ny = x\nz = y"
    assert view(source, "exercises") == "x = 1\n# TODO: y\n# with x\n..."
    assert view(source, "solutions") == "x = 1\ny = x\nz = y"


def test_text_without_a_marker_is_left_alone() -> None:
    source = "x = 1  # solution\n\n# TODO\n..."
    assert view(source, "exercises") == view(source, "solutions") == source


@pytest.mark.parametrize(
    ("source", "folder", "complaint"),
    [
        ("x = 1\n# solution\ny = 1", "exercises", "needs a `# TODO`"),
        ("# TODO\n\n# solution\ny = 1", "exercises", "needs a `# TODO`"),
        ("# TODO\n# solution\n", "solutions", "no line below"),
        ("# TODO\n# solution\ny = 1", "notebooks", "belongs in a lab"),
    ],
)
def test_a_misplaced_marker_is_refused(
    source: str, folder: str, complaint: str
) -> None:
    with pytest.raises(BuildError, match=complaint):
        view(source, folder)


# --- sanitize.cfg


@pytest.mark.parametrize(
    "words",
    [
        "0.75 s",
        "12 ms",
        "1.2 seconds",
        "3us",
        "5 \u00b5s",
        "1 second",
        "2 minutes",
        "1f0c3a52-7b1c-6d2e-8001-4b7f3e2a9c10",
        "lc_run--1f0c3a52-7b1c-6d2e-8001-4b7f3e2a9c10",
        "0x7f580b0442c0",
        "d41d8cd98f00b204e9800998ecf8427e",
        "chatcmpl-9aBcD3fGh1",
        "call_a1B2c3D4e5",
    ],
)
def test_durations_and_ids_are_masked(words: str) -> None:
    assert build.masked(f"a {words}, b") in ("a <TIME>, b", "a <ID>, b")


@pytest.mark.parametrize(
    "words",
    [
        "8 requests, at most 8 in flight, 96 tokens sent, 0 cut off",
        "3\nseconds",
        "10 sync calls",
        "2026-11-22 12:30",
        "127.0.0.1:8000",
        "call_everything_once",
        "user.name",
    ],
)
def test_nothing_else_is_masked(words: str) -> None:
    assert build.masked(words) == words


# --- new


@pytest.mark.parametrize("kind", ["lesson", "lab"])
def test_new_writes_a_source_that_ruff_accepts(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "source" / f"{kind}s").mkdir(parents=True)
    assert run(tmp_path, "new", kind, "04_memory") == 0
    path = tmp_path / "source" / f"{kind}s" / "04_memory.py"
    assert str(path) in capsys.readouterr().out
    assert 'check("04.1"' in path.read_text("utf-8")
    assert build.plan(tmp_path)
    ruff = [sys.executable, "-m", "ruff", "format", "--check", str(path)]
    subprocess.run(ruff, check=True, cwd=ROOT)
    assert run(tmp_path, "new", kind, "04_memory") == 1
    assert "is there already" in capsys.readouterr().out


@pytest.mark.parametrize("words", [("lesson", "memory"), ("page", "04_x")])
def test_new_explains_itself(
    words: tuple[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(tmp_path, "new", *words) == 1
    assert "NN_topic" in capsys.readouterr().out
