"""Break each solution in small ways, and see whether its judge notices.

    python tools/mutants.py                 all tasks
    python tools/mutants.py 01 17.3         a lab, a task
    python tools/mutants.py --since main    the tasks that a change touches

Prints the mutants that a judge accepts. Each of them needs a better probe,
or an entry in tests/mutants.toml with the reason why it is right. The exit
code is 1 if one has neither, or if an entry is out of date.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import json
import os
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(__file__)))

from tools.build import ROOT
from tools.tasks import SOURCES, define, solved_cells, source_of, tasks_in

LISTED = ROOT / "tests" / "mutants.toml"
AT_ONCE = 6  # mutants; most of a check is waiting
LIMIT = 8  # seconds for a check; whoever hangs so long is wrong anyway
KIT = ("workshop/checks/__init__", "workshop/checks/kit", "tools/mutants")

Function = ast.FunctionDef | ast.AsyncFunctionDef
Change = tuple[str, Callable[[], None]]  # in words, and done to the tree


# --- what a change is


def mutants(text: str, function: str) -> Iterator[tuple[str, str]]:
    """The ways to break ``function`` in a cell: in words, and the cell."""
    seen = {ast.unparse(ast.parse(text))}
    number = 0
    while True:
        tree = ast.parse(text)
        changes = list(_changes(tree, function))
        if number >= len(changes):
            return
        words, change = changes[number]
        number += 1
        change()
        mutant = ast.unparse(ast.fix_missing_locations(tree))
        if mutant not in seen:
            seen.add(mutant)
            yield words, mutant


def _changes(tree: ast.Module, function: str) -> Iterator[Change]:
    for node in tree.body:
        if isinstance(node, Function) and node.name == function:
            yield from _of_parameters(node)
        if isinstance(node, Function):
            for inner in ast.walk(node):
                yield from _of_blocks(inner)
                yield from _of_node(inner)


def _of_parameters(function: Function) -> Iterator[Change]:
    """Who ignores a parameter uses what the first caller gave."""
    for arg in function.args.args:
        name = arg.arg
        line = f"{name} = _first({function.name!r}, {name!r}, {name})"
        yield (
            f"always the first `{name}`",
            lambda line=line: function.body.insert(0, ast.parse(line).body[0]),
        )


def _of_blocks(node: ast.AST) -> Iterator[Change]:
    """Statements left out, and what encloses them."""
    for name in ("body", "orelse", "finalbody"):
        block = getattr(node, name, None)
        if not isinstance(block, list):
            continue
        for at, line in enumerate(block):
            if isinstance(line, Function | ast.Import | ast.ImportFrom):
                continue
            words = _words(line)
            if not isinstance(line, ast.Pass) and not _is_docstring(line):
                yield f"without {words}", _replace(block, at, [ast.Pass()])
            if isinstance(line, ast.With | ast.AsyncWith) and not any(
                item.optional_vars for item in line.items
            ):
                yield (
                    f"only the body of {words}",
                    _replace(block, at, line.body),
                )
            if isinstance(line, ast.Try):
                yield from _of_try(block, at, line)
            if isinstance(line, ast.Assign) and _makes(line.value):
                yield f"one for all calls: {words}", _kept(line)


def _of_try(block: list[ast.stmt], at: int, line: ast.Try) -> Iterator[Change]:
    if line.finalbody:
        bare: list[ast.stmt] = line.body
        if line.handlers:
            bare = [ast.Try(line.body, line.handlers, line.orelse, [])]
        lines = _words(line.finalbody[0])
        yield (
            f"{lines} not in a finally",
            _replace(block, at, [*bare, *line.finalbody]),
        )
    if line.handlers:
        rest: list[ast.stmt] = [*line.body, *line.orelse]
        if line.finalbody:
            rest = [ast.Try(line.body, [], line.orelse, line.finalbody)]
        yield f"without except: {_words(line)}", _replace(block, at, rest)


def _of_node(node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.If | ast.While | ast.IfExp) and not isinstance(
        node.test, ast.Constant
    ):
        yield (
            f"not: {ast.unparse(node.test)}",
            lambda: setattr(node, "test", ast.UnaryOp(ast.Not(), node.test)),
        )
    if isinstance(node, ast.comprehension):
        for at, test in enumerate(node.ifs):
            yield (
                f"all, not only if {ast.unparse(test)}",
                lambda at=at: node.ifs.pop(at),
            )
    if isinstance(node, ast.ExceptHandler) and node.type is not None:
        yield from _of_handler(node)
    if isinstance(node, ast.Compare):
        yield from _of_comparison(node)
    if isinstance(node, ast.BoolOp):
        for at, value in enumerate(node.values):
            if len(node.values) > 1:
                yield (
                    f"without the condition {ast.unparse(value)}",
                    lambda at=at: node.values.pop(at),
                )
    if isinstance(node, ast.Constant):
        yield from _of_constant(node)
    if isinstance(node, ast.Call):
        yield from _of_call(node)
    if isinstance(node, ast.Return) and node.value is not None:
        value = node.value
        for shim in ("_sorted", "_reversed"):
            yield (
                f"{shim[1:]}: {_words(node)}",
                lambda shim=shim: setattr(node, "value", _call(shim, value)),
            )
    for name, value in ast.iter_fields(node):
        if isinstance(value, ast.Await):
            yield (
                f"no await: {ast.unparse(value)[:60]}",
                lambda name=name, value=value: setattr(
                    node, name, value.value
                ),
            )


def _of_handler(node: ast.ExceptHandler) -> Iterator[Change]:
    was = ast.unparse(node.type)
    for other in ("Exception", "BaseException", "_Never"):
        if other != was:
            yield (
                f"except {other}, not {was}",
                lambda other=other: setattr(node, "type", ast.Name(other)),
            )
    if was in ("Exception", "BaseException"):
        yield (
            f"except _ApiError, not {was}",
            lambda: setattr(node, "type", ast.Name("_ApiError")),
        )
    if isinstance(node.type, ast.Tuple):
        for at, kind in enumerate(node.type.elts):
            yield (
                f"except without {ast.unparse(kind)}",
                lambda at=at: node.type.elts.pop(at),
            )


_OTHER = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,  # codespell:ignore notin
    ast.NotIn: ast.In,  # codespell:ignore notin
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
}
_AS_TRUTH = {ast.Is: ast.Eq, ast.IsNot: ast.NotEq}


def _of_comparison(node: ast.Compare) -> Iterator[Change]:
    was = ast.unparse(node)
    if other := _OTHER.get(type(node.ops[0])):
        yield f"the other way: {was}", lambda: node.ops.__setitem__(0, other())
    value = node.comparators[0]
    op = _AS_TRUTH.get(type(node.ops[0]))
    if op and isinstance(value, ast.Constant | ast.Name):
        yield (
            f"as truth: {was}",
            lambda: (
                setattr(node, "left", _call("bool", node.left)),
                node.ops.__setitem__(0, op()),
                node.comparators.__setitem__(0, ast.Constant(False)),
            ),
        )


def _of_constant(node: ast.Constant) -> Iterator[Change]:
    value = node.value
    if isinstance(value, bool):
        yield (
            f"{not value}, not {value}",
            lambda: setattr(node, "value", not value),
        )
    elif isinstance(value, int | float):
        yield (
            f"{value + 1}, not {value}",
            lambda: setattr(node, "value", value + 1),
        )


def _of_call(node: ast.Call) -> Iterator[Change]:
    was = ast.unparse(node)
    name = ast.unparse(node.func)
    for at, keyword in enumerate(node.keywords):
        yield (
            f"without {ast.unparse(keyword)}: {was[:60]}",
            lambda at=at: node.keywords.pop(at),
        )
    if node.args and name.endswith(("Queue", "Semaphore", "Limiter")):
        big = [ast.Constant(1_000_000)]
        yield f"no limit: {was}", lambda: setattr(node, "args", big)
    for shim in _INSTEAD.get(name.rsplit(".", 1)[-1], ()):
        if shim == "_gathered_errors" and "return_exceptions" in was:
            continue
        yield (
            f"{shim[1:]} for {was[:60]}",
            lambda shim=shim: setattr(node, "func", ast.Name(shim)),
        )


def _makes(value: ast.expr) -> bool:
    """Whether it makes something that one call may leave for another."""
    return isinstance(value, ast.Call | ast.List | ast.Dict | ast.Set)


def _kept(line: ast.Assign) -> Callable[[], None]:
    key = ast.unparse(line)
    if any(isinstance(n, ast.Await) for n in ast.walk(line.value)):
        return lambda: None
    once = f"_kept({key!r}, lambda: {ast.unparse(line.value)})"
    return lambda: setattr(line, "value", ast.parse(once, mode="eval").body)


def _replace(
    block: list[ast.stmt], at: int, lines: list[ast.stmt]
) -> Callable[[], None]:
    return lambda: block.__setitem__(slice(at, at + 1), lines)


def _call(name: str, value: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(name), [value], [])


def _is_docstring(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)


def _words(node: ast.AST) -> str:
    line = ast.unparse(node).splitlines()[0]
    return textwrap.shorten(line, 70, placeholder=" …")


# --- what a mutant may call


_INSTEAD = {
    "gather": ("_one_by_one", "_as_completed", "_gathered_errors"),
    "TaskGroup": ("_LooseGroup",),
    "create_task": ("_awaited",),
    "Lock": ("_NoLock",),
}


class _Never(Exception):
    """Raised by nobody."""


def _shims() -> dict[str, Any]:
    """The names that a mutant finds in its cell; new for each mutant."""
    import openai

    first: dict[Any, Any] = {}
    kept: dict[str, Any] = {}

    def keep(key: str, make: Callable[[], Any]) -> Any:
        if key not in kept:
            kept[key] = make()
        return kept[key]

    def listed(order: Callable[[list[Any]], Any]) -> Callable[[Any], Any]:
        def ordered(value: Any) -> Any:
            if not isinstance(value, list):
                raise NotApplicable
            return order(value)

        return ordered

    async def one_by_one(*calls: Any, **_: Any) -> list[Any]:
        return [await call for call in calls]

    async def as_completed(*calls: Any, **_: Any) -> list[Any]:
        return [await call for call in asyncio.as_completed(calls)]

    async def errors(*calls: Any, **_: Any) -> list[Any]:
        return await asyncio.gather(*calls, return_exceptions=True)

    class LooseGroup:
        """As a TaskGroup, but no failure cancels the others."""

        def __init__(self) -> None:
            self.tasks: list[asyncio.Task[Any]] = []

        async def __aenter__(self) -> LooseGroup:
            return self

        def create_task(self, call: Any, **_: Any) -> asyncio.Task[Any]:
            self.tasks.append(asyncio.create_task(call))
            return self.tasks[-1]

        async def __aexit__(self, kind: Any, *_: Any) -> None:
            if kind is None and self.tasks:
                await asyncio.gather(*self.tasks)

    class NoLock(asyncio.Semaphore):
        def __init__(self) -> None:
            super().__init__(1000)

    return {
        "_first": lambda *key_value: first.setdefault(
            key_value[:2], key_value[2]
        ),
        "_kept": keep,
        "_sorted": listed(lambda v: sorted(v, key=str)),
        "_reversed": listed(lambda v: v[::-1]),
        "_one_by_one": one_by_one,
        "_as_completed": as_completed,
        "_gathered_errors": errors,
        "_LooseGroup": LooseGroup,
        "_awaited": lambda call, **_: call,
        "_NoLock": NoLock,
        "_Never": _Never,
        "_ApiError": openai.APIError,
    }


class NotApplicable(Exception):
    """The change makes no sense for this value; it counts as killed."""


# --- judging


async def survivors(task: str) -> tuple[int, list[str]]:
    """How many mutants a task's solution has, and who is accepted."""
    from workshop import checks

    checks.LIMIT = LIMIT
    source = source_of(task)
    function = tasks_in(source)[task]
    cells = solved_cells(source)
    at = max(i for i, text in enumerate(cells) if f"def {function}(" in text)
    turn = asyncio.Semaphore(AT_ONCE)

    async def accepted(words: str, text: str) -> str | None:
        changed = [*cells[:at], text + _check_of(cells[at]), *cells[at + 1 :]]
        async with turn:
            try:
                name = f"{task}: {words}"
                answers = define(changed, name, _shims())
                mark, _ = await checks.verdict(task, answers[task])
            except Exception:  # it cannot even be defined
                return None
            return words if mark == "✅" else None

    mark, sentence = await checks.verdict(
        task, define(cells, f"solution of {task}")[task]
    )
    if mark != "✅":
        raise SystemExit(f"{task}: the solution itself: {mark} {sentence}")
    tried = [
        (words, text)
        for words, text in mutants(_only_definitions(cells[at]), function)
    ]
    verdicts = await asyncio.gather(*(accepted(*m) for m in tried))
    return len(tried), [words for words in verdicts if words]


def _only_definitions(text: str) -> str:
    """The cell without its check, which is no part of the answer."""
    lines = text.splitlines()
    return "\n".join(x for x in lines if not x.startswith("await check"))


def _check_of(text: str) -> str:
    found = [x for x in text.splitlines() if x.startswith("await check")]
    return "\n" + "\n".join(found)


def touched(since: str) -> list[str]:
    """The labs that a change matters to; none named means all of them."""
    files = changed_since(since)
    if any(file.startswith(KIT) for file in files):
        return []
    sources = ("source/", "workshop/checks/lab")
    names = [
        file.rsplit("/", 1)[-1].removeprefix("lab")
        for file in files
        if file.startswith(sources)
    ]
    return sorted({name[:2] for name in names}) or ["none"]


def changed_since(commit: str) -> list[str]:
    done = subprocess.run(
        ["git", "diff", "--name-only", commit],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    return done.stdout.splitlines()


async def in_process(task: str, turn: asyncio.Semaphore) -> Any:
    """What ``survivors`` finds in a process of its own.

    What mutants leave running ends with it.
    """
    async with turn:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            __file__,
            "--one",
            task,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = await process.communicate()
    lines = out.decode().splitlines()
    if process.returncode or not lines:
        why = err.decode().strip().splitlines() or ["it died"]
        return task, 1, [f"nothing: {why[-1]}"]
    count, accepted = json.loads(lines[-1])
    return task, count, accepted


async def run(wanted: list[str], jobs: int) -> int:
    """Judge the mutants of the tasks; 1 if some of them need attention."""
    listed: dict[str, dict[str, str]] = {}
    if LISTED.exists():
        listed = tomllib.loads(LISTED.read_text("utf-8"))
    tasks = [
        task
        for source in SOURCES
        for task in tasks_in(source)
        if not wanted or task.startswith(tuple(wanted))
    ]
    turn = asyncio.Semaphore(jobs)
    total = bad = right = 0
    for done in asyncio.as_completed([in_process(t, turn) for t in tasks]):
        task, count, accepted = await done
        reasons = listed.get(task, {})
        open_ones = [words for words in accepted if words not in reasons]
        stale = [words for words in reasons if words not in accepted]
        total += count
        bad += len(open_ones) + len(stale)
        right += len(accepted) - len(open_ones)
        killed = count - len(accepted)
        print(f"{task}: {count} mutants, {killed} killed", flush=True)
        for words in open_ones:
            print(f"    accepted: {words}")
        for words in stale:
            print(f"    no longer accepted, though listed: {words}")
    print(
        f"{total} mutants of {len(tasks)} tasks: {right} accepted for a "
        f"reason, {bad} to look at"
    )
    return 1 if bad else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("tasks", nargs="*", help="17.3, or 17 for a lab")
    parser.add_argument("--since", help="a commit; only what changed since")
    parser.add_argument("--jobs", type=int, default=2, help="processes (2)")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--show", help="print the mutants of a task")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(asyncio.run(survivors(options.one))))
        sys.stdout.flush()
        os._exit(0)  # whatever a mutant left running
    if options.show:
        source = source_of(options.show)
        name = tasks_in(source)[options.show]
        cells = [c for c in solved_cells(source) if f"def {name}(" in c]
        for words, text in mutants(_only_definitions(cells[-1]), name):
            print(f"# {words}\n{text}\n")
        return 0
    wanted = options.tasks
    if options.since:
        wanted = touched(options.since)
    return asyncio.run(run(wanted, options.jobs))


if __name__ == "__main__":
    sys.exit(main())
