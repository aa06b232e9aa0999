"""What a graph refers to: its nodes, their functions, models and tools.

The search is bounded by count and by time, whatever a graph holds. It runs
no property and calls nothing.
"""

from __future__ import annotations

import dis
import functools
import sys
import sysconfig
from collections import deque
from collections.abc import Iterable, Iterator
from inspect import getattr_static
from itertools import islice
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from langchain_core.language_models import BaseLanguageModel
from langchain_core.runnables import Runnable
from langgraph.pregel import Pregel

import workshop

OBJECTS = 3000
ITEMS = 40  # of a collection; a list of two million is looked at so far
LIBRARY = (
    sysconfig.get_paths()["stdlib"],
    sys.prefix,
    sys.base_prefix,
    str(Path(workshop.__file__).parent),  # the course's own
)
# What is called of an object that is a node or a tool.
ENTRIES = ("__call__", "_run", "_arun")
PLAIN = (str, bytes, int, float, complex, type(None), type, ModuleType)


class Reach:
    """The objects that a root refers to, itself first.

    ``whole`` is False if the search ended at one of its bounds. These are
    counts: what is found does not depend on how busy the machine is.
    """

    def __init__(self, root: object) -> None:
        self.whole = True
        self.objects = list(self._search(root))

    def _search(self, root: object) -> Iterator[object]:
        todo, seen = deque([root]), set()
        while todo:
            thing = todo.popleft()
            if isinstance(thing, PLAIN) or id(thing) in seen:
                continue
            if len(seen) >= OBJECTS:
                self.whole = False
                return
            seen.add(id(thing))
            yield thing
            todo.extend(self._few(parts(thing)))

    def _few(self, things: Iterable[object]) -> list[object]:
        found = list(islice(things, ITEMS + 1))
        if len(found) > ITEMS:
            self.whole = False
        return found[:ITEMS]

    def of_kind(self, kind: type | tuple[type, ...]) -> list[Any]:
        return [thing for thing in self.objects if isinstance(thing, kind)]


def parts(thing: object) -> Iterable[object]:
    """What a graph, a step, a function, an object of yours refers to."""
    if isinstance(thing, Pregel):
        return [*(node.bound for node in thing.nodes.values()), *paths(thing)]
    if isinstance(thing, BaseLanguageModel):
        return ()
    if isinstance(thing, dict):
        return thing.values()
    if isinstance(thing, list | tuple | set | frozenset):
        return thing
    if isinstance(thing, MethodType):
        return (thing.__self__, thing.__func__)
    if isinstance(thing, functools.partial):
        return (thing.func, *thing.args, *thing.keywords.values())
    if isinstance(thing, FunctionType):
        return used_by(thing)
    if "__wrapped__" in getattr(thing, "__dict__", {}):
        return (thing.__wrapped__,)  # a task of LangGraph, a cached function
    if isinstance(thing, Runnable) or is_yours(thing):
        kind = type(thing)
        entries = (getattr_static(kind, name, None) for name in ENTRIES)
        own = [MethodType(e, thing) for e in entries if yours_too(e)]
        return (*own, *getattr(thing, "__dict__", {}).values())
    return ()


def paths(graph: Pregel) -> Iterator[object]:
    """Yield the functions of its conditional edges."""
    branches = getattr(getattr(graph, "builder", None), "branches", {})
    for named in branches.values():
        for branch in named.values():
            yield branch.path


def is_yours(thing: object) -> bool:
    """Whether its class, or one that it extends, was not installed."""
    for kind in type(thing).__mro__:
        module = sys.modules.get(kind.__module__)
        file = getattr(module, "__file__", None)
        if kind.__module__ == "__main__":
            return True
        if file and not file.startswith(LIBRARY):
            return True
    return False


def yours_too(function: object) -> bool:
    return isinstance(function, FunctionType) and not of_library(
        function.__code__
    )


def used_by(function: FunctionType) -> Iterator[object]:
    """What it takes from around it, and from its module if that is yours."""
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            continue
    if not of_library(function.__code__):
        for name in sorted(globals_in(function.__code__)):
            if name in function.__globals__:
                yield function.__globals__[name]


@functools.lru_cache(maxsize=1000)
def globals_in(code: CodeType) -> frozenset[str]:
    """The names that it looks up in its module, inner code too."""
    found = {
        step.argval
        for step in dis.get_instructions(code)
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    }
    inner = (c for c in code.co_consts if isinstance(c, CodeType))
    return frozenset(found.union(*map(globals_in, inner)))


def names_in(code: CodeType) -> set[str]:
    """The names of globals and attributes that it uses, inner code too."""
    inner = (c for c in code.co_consts if isinstance(c, CodeType))
    return set(code.co_names).union(*map(names_in, inner))


def of_library(code: CodeType) -> bool:
    """Whether it was installed; cells and files of yours were not."""
    file = code.co_filename
    return file.startswith(LIBRARY) or file.startswith("<frozen")
