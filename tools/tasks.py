"""The tasks of the course, with their stubs and solutions, from source/."""

from __future__ import annotations

import ast
import linecache
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from textwrap import indent
from typing import Any

from tools.build import ROOT, cells_of

CHECK = re.compile(r'^await check\("(\d\d\.\d)", (\w+)\)$', re.MULTILINE)
SOLUTION = re.compile(
    r"<summary>Solution</summary>\s+```python\n(.*?)```", re.DOTALL
)
STUB = re.compile(r"^ +# TODO.*?^ +\.\.\.$", re.MULTILINE | re.DOTALL)
DEFINITIONS = (
    ast.Import,
    ast.ImportFrom,
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
)
Answer = Callable[..., Any]

SOURCES = sorted((ROOT / "source").rglob("[0-9]*.py"))


def tasks_in(source: Path) -> dict[str, str]:
    """The name of the function to write, by task."""
    return dict(CHECK.findall(source.read_text("utf-8")))


TASKS = [task for source in SOURCES for task in tasks_in(source)]


def source_of(task: str) -> Path:
    return next(s for s in SOURCES if task in tasks_in(s))


def stub_cells(source: Path) -> list[str]:
    lab = source.parent.name == "labs"
    return code_of(source, "exercises" if lab else "notebooks")


def solved_cells(source: Path) -> list[str]:
    """A lab's solution, or a lesson with the solution below its stub."""
    if source.parent.name == "labs":
        return code_of(source, "solutions")
    texts = []
    prose = "\n".join(
        cell.source
        for cell in cells_of(source, "notebooks")
        if cell.cell_type == "markdown"
    )
    solutions = [indent(text, "    ") for text in SOLUTION.findall(prose)]
    for text in code_of(source, "notebooks"):
        if STUB.search(text):
            text = STUB.sub(lambda _: solutions.pop(0), text)
        texts.append(text)
    return texts


def code_of(source: Path, folder: str) -> list[str]:
    cells = cells_of(source, folder)
    return [cell.source for cell in cells if cell.cell_type == "code"]


def define(
    texts: list[str], name: str, given: dict[str, Any] | None = None
) -> dict[str, Answer]:
    """Run only the definitions of the cells; return the answers by task.

    ``given`` are names that the cells may use.
    """
    namespace: dict[str, Any] = dict(given or {})
    for number, text in enumerate(texts):
        file = f"<{name}, code cell {number}>"
        linecache.cache[file] = (len(text), None, text.splitlines(True), file)
        for node in filter(defines, ast.parse(text).body):
            module = ast.Module([node], [])
            code = compile(module, file, "exec", dont_inherit=True)
            # It needs what a cell makes, or a path: no answer.
            with suppress(NameError, ImportError, AttributeError):
                exec(code, namespace)
    return {
        task: namespace[function]
        for text in texts
        for task, function in CHECK.findall(text)
    }


def defines(node: ast.stmt) -> bool:
    """Whether it defines a name without a call: imports, functions, data."""
    if isinstance(node, ast.Assign):
        name, value = node.targets[0], ast.walk(node.value)
        asks = any(isinstance(n, ast.Name | ast.Call) for n in value)
        return isinstance(name, ast.Name) and not asks
    return isinstance(node, DEFINITIONS)
