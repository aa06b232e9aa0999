"""Build the notebooks of the course from the text in source/.

    python tools/build.py                 build what changed
    python tools/build.py 01 02_modes     only sources whose names start so
    python tools/build.py --force         execute what did not change, too
    python tools/build.py --fresh         the same, and renew every output
    python tools/build.py --check         execute nothing, say what is off
    python tools/build.py new lesson 04_topic
    python tools/build.py new lab 04_topic

A lesson becomes one notebook in notebooks/. A lab becomes two, in exercises/
and solutions/, by two rules. A cell tagged `solution` is absent from the
exercise. In a code cell the lines after `# solution`, down to the first line
that is indented less, become `...` under the `# TODO` comment above them; the
solution shows these lines and drops both comments.

Cells of a lesson that are tagged `cheat-sheet` also make a page beside the
notebook: their prose, and the Markdown that they display.

`{minutes}` becomes what tools/minutes.py computes. A cell tagged `folded` is
shown collapsed, and so are the outputs below a prediction until they are run.

A new output that equals the stored one after sanitize.cfg does not replace
it, so that building twice gives the same bytes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path
from typing import Any

import workshop.nofmt  # noqa: F401  (first, or nbformat takes seconds)

# isort: split
import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal
from nbformat import NotebookNode
from nbval.plugin import get_sanitize_patterns

from tools import contents
from tools.kernels import async_manager, zygote
from tools.minutes import TOKEN, minutes_of

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"notebooks": "lessons", "exercises": "labs", "solutions": "labs"}
# Nothing to derive them from.
BY_HAND = ("solutions/service", "notebooks/pictures", "notebooks/glossary.md")
INDEX = "index"
AT_ONCE = 2
CELL_SECONDS = 300
METADATA = {
    "kernelspec": {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    },
    # JupyterLab colours the code by this until the kernel has answered.
    "language_info": {"name": "python"},
}
PERCENT = {
    "extension": ".py",
    "format_name": "percent",
    "comment_magics": False,
}
PATTERNS = get_sanitize_patterns((ROOT / "sanitize.cfg").read_text("ascii"))
PREDICT = "**Predict.**"
# Where the text says them, so that a stored notebook equals its source.
MINUTES = re.compile(r"(?<=\bIn )\d+(?= minutes)|(?<=\babout )\d+(?= minutes)")
WIDGET = "application/vnd.jupyter.widget-view+json"
ANSI = re.compile(r"\x1b\[[0-9;]*m")
MACHINE = re.compile(
    r"/home/|/Users/|/root/|/tmp/|/var/folders/|\b[A-Z]:\\|site-packages|"
    + re.escape(str(ROOT))
)


class BuildError(Exception):
    """Names the file and the cell, and says what is wrong."""


@dataclass
class Target:
    """A notebook to be, and the cells that its source gives it."""

    path: Path
    cells: list[NotebookNode]
    seconds: int = 0  # that its cells ran, as measured by a build

    def __str__(self) -> str:
        return f"{self.path.parent.name}/{self.path.name}"

    def where(self, index: int) -> str:
        """Name a cell by its place, from 1, and by its first line."""
        first = self.cells[index].source.partition("\n")[0]
        return f"{self}, cell {index + 1} ({first})"

    def stored(self) -> NotebookNode | None:
        """Return the notebook as it was last built, if it can be read."""
        try:
            return nbformat.read(self.path, as_version=4)
        except (OSError, ValueError):
            return None


# --- from source to cells


def plan(root: Path, names: list[str] | None = None) -> list[Target]:
    """Return the notebooks of every source, or of those with these names."""
    targets, unused = [], set(names or [])
    for folder, kind in FOLDERS.items():
        for source in sorted((root / "source" / kind).glob("*.py")):
            wanted = {n for n in names or [] if source.name.startswith(n)}
            unused -= wanted
            if wanted or not names:
                path = root / folder / f"{source.stem}.ipynb"
                targets.append(Target(path, cells_of(source, folder)))
    if unused:
        raise BuildError(f"no source starts with {', '.join(sorted(unused))}")
    return targets


def cells_of(source: Path, folder: str) -> list[NotebookNode]:
    """Return the cells that `folder` gets of a source, with stable ids."""
    cells: list[NotebookNode] = []
    seen: Counter[str] = Counter()
    for number, cell in enumerate(jupytext.read(source, fmt=PERCENT).cells, 1):
        if folder == "exercises" and "solution" in tags(cell):
            continue
        try:
            text = view(cell.source, folder)
            if contents.TOKEN in text:
                table = contents.table(source.parents[2], "../")
                text = text.replace(contents.TOKEN, table)
        except BuildError as error:
            place = f"source/{source.parent.name}/{source.name}, cell {number}"
            raise BuildError(f"{place}: {error}") from None
        digest = sha1(f"{cell.cell_type}\n{text}".encode()).hexdigest()[:8]
        seen[digest] += 1
        copy = seen[digest]
        make = getattr(nbformat.v4, f"new_{cell.cell_type}_cell")
        made = make(text, id=digest if copy == 1 else f"{digest}-{copy}")
        if tags(cell):
            made.metadata.tags = tags(cell)
        cells.append(made)
    fold(cells)
    return cells


def fold(cells: list[NotebookNode]) -> None:
    """Collapse apparatus, and each output that a prediction is about."""
    predicted = False
    for cell in cells:
        hidden = {}
        if cell.cell_type == "markdown":
            predicted = predicted or PREDICT in cell.source
        else:
            if "folded" in tags(cell):
                hidden["source_hidden"] = True
            if predicted:
                hidden["outputs_hidden"] = True
            predicted = False
        if hidden:
            cell.metadata.jupyter = hidden


def view(text: str, folder: str) -> str:
    """Apply the marker grammar to the text of one cell."""
    lines, out = text.split("\n"), []
    while lines:
        line = lines.pop(0)
        if line.strip() != "# solution":
            out.append(line)
            continue
        if folder == "notebooks":
            raise BuildError("`# solution` belongs in a lab")
        indent = len(line) - len(line.lstrip())
        todo: list[str] = []
        while not (todo and todo[0].lstrip().startswith("# TODO")):
            if not (out and out[-1].lstrip().startswith("#")):
                raise BuildError("`# solution` needs a `# TODO` above it")
            todo.insert(0, out.pop())
        end = next(
            (i for i, ln in enumerate(lines) if ln[:indent].strip()),
            len(lines),
        )
        while end and not lines[end - 1].strip():
            end -= 1
        if not end:
            raise BuildError("`# solution` has no line below it")
        stub = [*todo, " " * indent + "..."]
        out += stub if folder == "exercises" else lines[:end]
        del lines[:end]
    return "\n".join(out)


def tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def content(cell: NotebookNode) -> tuple[str, str, list[str]]:
    """Return what an author writes: all but ids, outputs and counts."""
    text = MINUTES.sub(TOKEN, cell.source)
    return cell.cell_type, text, tags(cell)


def code(cells: list[NotebookNode]) -> list[NotebookNode]:
    return [cell for cell in cells if cell.cell_type == "code"]


# --- execution


async def execute(target: Target) -> None:
    """Run the cells in a kernel of their own and leave outputs in them."""
    now = 0

    def starts(cell: NotebookNode, cell_index: int) -> None:
        nonlocal now
        now = cell_index

    client = NotebookClient(
        nbformat.v4.new_notebook(cells=target.cells),
        km=async_manager(),
        resources={"metadata": {"path": str(target.path.parent)}},
        timeout=CELL_SECONDS,
        coalesce_streams=True,
        record_timing=False,
        store_widget_state=False,
        skip_cells_with_tag="nbval-skip",
        on_cell_start=starts,
    )
    try:
        await client.async_execute(cleanup_kc=True, stderr=subprocess.DEVNULL)
    except (CellControlSignal, RuntimeError) as error:
        text = ANSI.sub("", str(error))
        raise BuildError(f"{target.where(now)}:\n{text}") from None
    for index, cell in enumerate(target.cells):
        if cell.cell_type == "code":
            fault = judge(cell)
            if fault:
                raise BuildError(f"{target.where(index)}: {fault}")


def judge(cell: NotebookNode) -> str | None:
    """Clean the outputs of a cell that ran; return what must not be stored."""
    clean(cell.outputs)
    announced = "raises-exception" in tags(cell)
    raised = any(out.output_type == "error" for out in cell.outputs)
    path = MACHINE.search(str(cell.outputs))
    if path:
        return f"its output names a path of this machine ({path[0]})"
    for output in cell.outputs:
        if output.get("name") == "stderr" and not announced:
            return f"it writes to stderr: {output.text}"
    if raised and not announced:
        return "an error outside the cell's own code, as in a callback"
    if announced and not raised:
        return "it is tagged raises-exception and raised nothing"
    return None


def clean(outputs: list[NotebookNode]) -> None:
    """Take out what only this machine or this run would know."""
    for output in outputs:
        if "data" in output:
            output.data.pop(WIDGET, None)
        if output.output_type == "error":
            output.traceback = list(short(output.traceback))


def short(traceback: list[str]) -> Iterator[str]:
    """Yield the learner's own frames; count those of library code."""
    hidden = 0
    for entry in [*map(ANSI.sub, [""] * len(traceback), traceback), ""]:
        if entry.startswith("File "):
            hidden += 1
            continue
        if hidden:
            yield f"    (frames in library code: {hidden})\n"
            hidden = 0
        if entry:
            yield entry


def keep(new: list[NotebookNode], old: list[NotebookNode]) -> None:
    """Put stored outputs back where the new ones say the same."""
    stored = {cell.id: cell for cell in code(old)}
    for cell in code(new):
        before = stored.get(cell.id)
        if before is None or not before.outputs:
            continue
        unchecked = "nbval-ignore-output" in tags(cell)
        if unchecked or masked(before.outputs) == masked(cell.outputs):
            cell.outputs = before.outputs


def masked(value: Any) -> Any:
    """Return a copy as nbval compares it: sanitized, without pictures."""
    if isinstance(value, str):
        for pattern, replacement in PATTERNS:
            value = re.sub(pattern, replacement, value)
    elif isinstance(value, list):
        value = [masked(item) for item in value]
    elif isinstance(value, dict):
        value = {
            key: masked(item)
            for key, item in value.items()
            if not key.startswith("image/")
        }
    return value


# --- building


def current(target: Target, stored: NotebookNode | None) -> bool:
    """Tell whether the stored notebook ran exactly this code."""
    if stored is None:
        return False
    same = [*map(content, code(stored.cells))] == [
        *map(content, code(target.cells))
    ]
    return same and all(
        c.execution_count or "nbval-skip" in tags(c)
        for c in code(stored.cells)
    )


def adopt(target: Target, stored: NotebookNode) -> None:
    """Take over the outputs of a notebook that ran the same code."""
    for new, old in zip(code(target.cells), code(stored.cells), strict=True):
        new.outputs = old.outputs
        clean(new.outputs)
    target.seconds = seconds_of(stored)


def seconds_of(stored: NotebookNode) -> int:
    return stored.metadata.get("course", {}).get("seconds", 0)


def files_of(target: Target) -> dict[Path, str]:
    """Number the runs and return what goes to disk, and where."""
    minutes = str(minutes_of(target.cells, target.seconds))
    for cell in target.cells:
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace(TOKEN, minutes)
    count = 0
    for cell in code(target.cells):
        if "nbval-skip" in tags(cell):
            continue
        count += 1
        cell.execution_count = count
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count
    metadata = METADATA | {"course": {"seconds": target.seconds}}
    notebook = nbformat.v4.new_notebook(cells=target.cells, metadata=metadata)
    return {target.path: nbformat.writes(notebook) + "\n"} | sheet_of(target)


def sheet_of(target: Target) -> dict[Path, str]:
    """Return the page that the cells tagged `cheat-sheet` make, if any.

    It holds their prose, and the Markdown that their code displayed. Links
    to headings lead back into the notebook.
    """
    cells = [cell for cell in target.cells if "cheat-sheet" in tags(cell)]
    if not cells:
        return {}
    title = target.cells[0].source.partition("\n")[0].removeprefix("# ")
    parts = ["# Cheat sheet", f"Made by [{title}]({target.path.name})."]
    for cell in cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source.replace("](#", f"]({target.path.name}#"))
        else:
            shown = [output.get("data", {}) for output in cell.outputs]
            parts += [
                d["text/markdown"] for d in shown if "text/markdown" in d
            ]
    path = target.path.with_name(f"{target.path.name[:2]}_cheat_sheet.md")
    return {path: "\n\n".join(parts) + "\n"}


async def build(target: Target, force: bool, fresh: bool) -> str:
    """Bring one notebook up to date and return what was done."""
    stored = target.stored()
    same = stored and current(target, stored) and not fresh
    if same and not force:
        adopt(target, stored)
        done = "text only"
    else:
        target.path.parent.mkdir(exist_ok=True)
        start = time.perf_counter()
        await execute(target)
        took = time.perf_counter() - start
        done = f"executed in {took:.1f} s"
        # A busy machine is slower: what was measured of this code is kept.
        target.seconds = (same and seconds_of(stored)) or round(took)
        if stored and not fresh:
            keep(target.cells, stored.cells)
    changed = unlike(files_of(target))
    if not changed:
        return "unchanged" if done == "text only" else f"{done}, unchanged"
    for path, text in changed.items():
        path.write_text(text, "utf-8", newline="\n")
    return done


def unlike(files: dict[Path, str]) -> dict[Path, str]:
    """Return those files that are missing on disk or differ there."""
    return {
        path: text
        for path, text in files.items()
        if not (path.exists() and path.read_text("utf-8") == text)
    }


async def build_all(targets: list[Target], force: bool, fresh: bool) -> bool:
    """Build the notebooks, two at once; return whether all succeeded."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(target: Target) -> bool:
        async with turn:
            try:
                print(f"{target}: {await build(target, force, fresh)}")
            except BuildError as error:
                print(f"FAILED, nothing was written. {error}\n")
                return False
            return True

    return all(await asyncio.gather(*map(one, targets)))


# --- checking


def check(root: Path) -> list[str]:
    """Compare the folders with their sources; return what is off."""
    targets = plan(root)
    problems = [fault for t in targets for fault in [difference(t)] if fault]
    expected = {path for t in targets for path in (t.path, *sheet_of(t))}
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if {".ipynb_checkpoints", "__pycache__"} & {*path.parts}:
                continue
            if {root / name for name in BY_HAND} & {path, *path.parents}:
                continue
            if path.is_file() and path not in expected:
                name = path.relative_to(root).as_posix()
                problems.append(f"{name}: no source makes it; remove it")
    for path, text in contents.pages(root):
        if path.read_text("utf-8") != text:
            problems.append(f"{path.name}: its table of lessons is old; build")
    lessons = {p.stem for p in expected if p.parent.name == "notebooks"}
    for path in sorted(expected):
        if path.stem not in lessons and path.parent.name == "exercises":
            problems.append(f"exercises/{path.name}: no lesson has this name")
    return problems


def difference(target: Target) -> str | None:
    """Say where a stored notebook is not what its source gives."""
    mend = f"mend with: python tools/build.py {target.path.stem}"
    stored = target.stored()
    if stored is None:
        return f"{target}: missing or unreadable; {mend}"
    pairs = zip(target.cells, stored.cells, strict=False)
    for index, (new, old) in enumerate(pairs):
        if content(new) != content(old):
            return f"{target.where(index)}: its source says else; {mend}"
    if not current(target, stored):
        return f"{target}: cells are missing, added or never ran; {mend}"
    adopt(target, stored)
    for path in unlike(files_of(target)):
        name = f"{path.parent.name}/{path.name}"
        return f"{name}: outputs, ids, counts or metadata differ; {mend}"
    return None


# --- beginning a lesson or a lab

LESSON = """\
# %% [markdown]
# # Say what the reader does, with a verb
#
# previous: · next: · lab:

# %% [markdown]
# In {minutes} minutes you will be able to:
#
# - do one thing;
# - prove another.
#
# Builds on lesson 01.

# %%
from workshop.model import connect

model = connect()
from langchain_openai import ChatOpenAI

# %% [markdown]
# ## One idea
#
# **Predict.** Ask one question about the next cell.
#
# <details><summary>Answer</summary>
#
# Answer it, and say why.
#
# </details>

# %%
llm = ChatOpenAI(model=model.name, stream_usage=True)

# %% [markdown]
# Explain what the output shows, in at most 80 words.

# %% [markdown]
# ## A misconception
#
# Say what many believe. The next cell shows it failing.

# %% tags=["raises-exception"]
await llm.invoke("What is LangGraph?")

# %% [markdown]
# ## Check yourself
#
# Say what the function takes and returns.

# %%
from workshop.checks import check


async def answer(llm):
    # TODO (about 2 lines)
    ...


await check("{number}.1", answer)

# %% [markdown]
# ## Keep
#
# - One thing.
# - Another.
# - A third.
#
# **Next:**
"""

LAB = """\
# %% [markdown]
# # Lab {number}: say what the reader makes
#
# lesson: · solution:

# %% [markdown]
# Two tasks, about {minutes} minutes. Each has a check and two hints.

# %%
from workshop.checks import check
from workshop.model import connect

model = connect()

# %% [markdown]
# ## Task 1: do one thing
#
# The contract, in at most 40 words. Expected: what the meter will say.


# %%
async def answer(llm):
    # TODO (about 2 lines)
    # solution
    return await llm.ainvoke("What is LangGraph?")


# %%
await check("{number}.1", answer)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Where to look.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Nearly the answer.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** Say why this answer works and the usual wrong one does not.
"""


def scaffold(root: Path, kind: str, stem: str) -> Path:
    """Write the skeleton of a new source and return its path."""
    template = {"lesson": LESSON, "lab": LAB}.get(kind)
    if template is None or not re.fullmatch(r"\d\d_[a-z0-9_]+", stem):
        raise BuildError("usage: new lesson|lab NN_topic, as in 04_memory")
    path = root / "source" / f"{kind}s" / f"{stem}.py"
    if path.exists():
        raise BuildError(f"{path.name} is there already")
    path.write_text(template.replace("{number}", stem[:2]), "utf-8")
    return path


# --- the command


def main(argv: list[str] | None = None) -> int:
    """Do what the command line asks; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--force", action="store_true")
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--root", type=Path, default=ROOT, metavar="FOLDER")
    args = parser.parse_args(argv)
    try:
        if args.names[:1] == ["new"] and len(args.names) == 3:
            print(scaffold(args.root, *args.names[1:]))
            return 0
        if args.check:
            problems = check(args.root)
            print("\n".join(problems) or "The notebooks are as built.")
            return 1 if problems else 0
        targets = plan(args.root, args.names)
    except BuildError as error:
        print(error)
        return 1
    # What is stored must come from the practice model, and cost nothing.
    for name in list(os.environ):
        if name.startswith(("WORKSHOP_", "LANGSMITH_", "LANGCHAIN_")):
            del os.environ[name]
    os.environ["WORKSHOP_PROGRESS"] = ""  # a build passes no task
    lessons = [t for t in targets if t.path.stem != INDEX]
    with zygote():
        good = asyncio.run(build_all(lessons, args.force, args.fresh))
        # It shows the others' minutes, so it comes when they are known.
        index = [t for t in plan(args.root) if t.path.stem == INDEX]
        good &= asyncio.run(build_all(index, args.force, args.fresh))
    for path, text in contents.pages(args.root):
        path.write_text(text, "utf-8", newline="\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    sys.exit(main())
