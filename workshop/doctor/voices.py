"""Whose words a reader of `messages` mode hears, besides the answer's."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from types import CodeType, MethodType
from typing import Any

from langchain.agents.middleware import AgentMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableBinding
from langchain_core.tools import BaseTool

from workshop.doctor.calls import Calls, Method, Scope, is_own, walk
from workshop.doctor.reach import Reach

QUIET = "nostream"
ASKS = {"invoke", "ainvoke"}


def voices_in(things: list[Any], calls: Calls) -> Iterator[str]:
    """Yield who speaks beside the answer: models of tools, and the like."""
    for thing in things:
        if isinstance(thing, BaseTool):
            function = getattr(thing, "coroutine", None)
            function = function or getattr(thing, "func", None) or thing._run
            if loud(function):
                yield f"a model in tool `{thing.name}`"
    for scope in calls.scopes:
        if isinstance(scope.owner, AgentMiddleware):
            asked = [n for n in walk(scope.tree.body) if asks(n, scope)]
            if asked:
                yield f"the model of {scope.line(asked[0])}"
        yield from overheard(scope)


def loud(thing: Any) -> bool:
    """Whether it refers to a chat model that is not tagged."""
    code = getattr(thing, "__code__", None)
    if code is not None and mentions(code, QUIET):  # tagged at the call
        return False
    inner = Reach(thing)
    quiet = {
        id(bound.bound)
        for bound in inner.of_kind(RunnableBinding)
        if QUIET in (bound.config.get("tags") or ())
    }
    return any(
        id(model) not in quiet and QUIET not in (model.tags or ())
        for model in inner.of_kind(BaseChatModel)
    )


def mentions(code: CodeType, word: str) -> bool:
    inner = (c for c in code.co_consts if isinstance(c, CodeType))
    return word in code.co_consts or any(mentions(c, word) for c in inner)


def overheard(scope: Scope) -> Iterator[str]:
    """The calls of models in a node that are no part of its answer.

    Only of a node that returns the words of one model as its message.
    """
    asked: dict[str, ast.Call] = {}
    answer: list[Any] = []
    for node in walk(scope.tree.body):
        if isinstance(node, ast.Return) and node.value is not None:
            answer += messages_in(node.value)
        elif isinstance(node, ast.Assign) and len(node.targets) == 1:
            name, call = node.targets[0], node.value
            call = call.value if isinstance(call, ast.Await) else call
            if isinstance(name, ast.Name) and asks(call, scope):
                asked[name.id] = call
    said = names_behind(answer, scope, asked)
    if not said & asked.keys():
        return
    for name, call in asked.items():
        if name not in said:
            yield f"the model of {scope.line(call)}"


def messages_in(value: Any) -> list[Any]:
    """What stands at the key `messages` of what a node returns."""
    return [
        inner
        for node in ast.walk(value)
        if isinstance(node, ast.Dict)
        for key, inner in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and key.value == "messages"
    ]


def asks(call: Any, scope: Scope) -> bool:
    """Whether this asks a chat model, loudly."""
    if not isinstance(call, ast.Call) or QUIET in ast.unparse(call):
        return False
    called = scope.value(call.func)
    if isinstance(called, MethodType) and not is_own(called):
        called = Method(called.__self__, called.__name__)
    if not isinstance(called, Method) or called.name not in ASKS:
        return False
    return loud(called.owner)


def names_behind(
    answer: list[Any], scope: Scope, asked: dict[str, ast.Call]
) -> set[str]:
    """The names whose values become the answer, not through a model."""
    found: set[str] = set()
    todo = list(answer)
    while todo:
        for node in ast.walk(todo.pop()):
            if not isinstance(node, ast.Name) or node.id in found:
                continue
            found.add(node.id)
            if node.id not in asked:
                todo += scope.filled.get(node.id, [])
    return found
