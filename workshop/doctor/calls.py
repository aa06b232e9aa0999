"""The calls of a function that wait, found in its source and resolved.

A name is no call, and a call is looked up where the function would find it:
in its closure, its module, its `self`, or what it assigned itself. So
``cfg.sleep`` is nothing, and ``self.llm.invoke`` is found.
"""

from __future__ import annotations

import ast
import builtins
import concurrent.futures
import functools
import inspect
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseLanguageModel
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.pregel import Pregel

from workshop.doctor.reach import Reach, of_library
from workshop.doctor.stalls import written

SECONDS = 0.02  # for all functions of one examination
DEPTH = 4  # functions of yours that call each other
HTTP = {"request", "send", "stream", "get", "post", "put", "patch", "delete"}
HTTP |= {"head", "options"}
# By the package or module and the name of the function.
FUNCTIONS = {
    "time": {"sleep"},
    "requests": {*HTTP},
    "httpx": {*HTTP},
    "httpx2": {*HTTP},
    "urllib": {"urlopen", "urlretrieve"},
    "subprocess": {"run", "call", "check_call", "check_output", "getoutput"},
    "os": {"system", "wait", "waitpid"},
    "posix": {"system", "wait", "waitpid"},
    "socket": {"create_connection", "getaddrinfo", "gethostbyname"},
    "_socket": {"getaddrinfo", "gethostbyname"},
    "builtins": {"input"},
    "concurrent": {"wait", "as_completed"},
    "psycopg": {"connect"},
    "psycopg2": {"connect"},
    "pymysql": {"connect"},
    "sqlite3": {"connect"},
    "_sqlite3": {"connect"},
}
# By the package and class that a method is called on; `*` means any method.
METHODS: dict[tuple[str, str], set[str]] = {
    ("requests", "Session"): HTTP,
    ("httpx", "Client"): HTTP,
    ("httpx2", "Client"): HTTP,
    ("urllib3", "PoolManager"): {"request", "urlopen"},
    ("subprocess", "Popen"): {"wait", "communicate"},
    ("socket", "socket"): {"accept", "connect", "recv", "recvfrom", "sendall"},
    ("threading", "Thread"): {"join"},
    ("threading", "Event"): {"wait"},
    ("threading", "Condition"): {"wait", "wait_for", "acquire"},
    ("threading", "Barrier"): {"wait"},
    ("threading", "Semaphore"): {"acquire"},
    ("_thread", "lock"): {"acquire"},
    ("_thread", "RLock"): {"acquire"},
    ("queue", "Queue"): {"get", "join"},  # `put` seldom waits
    ("_queue", "SimpleQueue"): {"get"},
    ("concurrent", "Future"): {"result", "exception"},
    ("sqlite3", "Connection"): {"execute", "executemany", "commit"},
    ("sqlite3", "Cursor"): {"execute", "executemany", "fetchall"},
    ("psycopg", "Connection"): {"execute", "commit"},
    ("psycopg", "Cursor"): {"execute", "executemany"},
    ("redis", "Redis"): {"*"},
    ("pymongo", "MongoClient"): {"*"},
    ("openai", "OpenAI"): {"*"},
    ("openai", "AzureOpenAI"): {"*"},
    ("openai", "SyncAPIResource"): {"*"},  # `client.responses`, once read
    ("anthropic", "Anthropic"): {"*"},
    ("anthropic", "SyncAPIResource"): {"*"},
}
SYNC = {"invoke", "stream", "batch", "batch_as_completed", "transform"}
SYNC |= {"get_state", "update_state", "get_state_history", "embed_query"}
SYNC |= {"embed_documents", "generate", "predict"}
SAVER = {"get", "get_tuple", "list", "put", "put_writes", "delete_thread"}
# What these return, where it is not the class itself that is called.
RETURNS: dict[Any, type] = {
    threading.Lock: type(threading.Lock()),
    threading.RLock: type(threading.RLock()),
    "run_coroutine_threadsafe": concurrent.futures.Future,
    "submit": concurrent.futures.Future,
}
TRIES = {"block", "blocking", "timeout"}  # False or 0: it does not wait
# Methods of a model that return one which is asked in the same way.
SAME = {"bind", "bind_tools", "with_config", "with_retry"}
SAME |= {"with_structured_output", "with_fallbacks"}
LOCKS = (type(threading.Lock()), type(threading.RLock()))


@dataclass(frozen=True)
class Call:
    """A call that waits: ``name`` as it is written, and its line."""

    name: str
    line: str


@dataclass(frozen=True)
class Made:
    """Some object of this class: it does not exist yet."""

    kind: type


class Calls:
    """Finds them; ``unread`` counts the functions it could not look into."""

    def __init__(self) -> None:
        self.unread = 0
        self._left = SECONDS
        self._seen: dict[Any, list[Call]] = {}

    def of(self, function: Any, depth: int = DEPTH) -> list[Call]:
        """Return the calls that wait in a function or method of yours."""
        function = plain(function)
        owner = getattr(function, "__self__", None)
        code = getattr(function, "__code__", None)
        if code is None or of_library(code) or depth <= 0:
            return []
        key = (code, id(owner))
        if key not in self._seen:
            self._seen[key] = []  # while it is read: it may call itself
            tree = self._read(function)
            if tree is not None:
                scope = Scope(function, tree)
                self._seen[key] = list(self._in(tree.body, scope, depth))
        return self._seen[key]

    def _read(self, function: Any) -> Any:
        """Its syntax tree, while there is time; reading is what costs."""
        began = time.thread_time()
        tree = None if self._left < 0 else tree_of(function)
        self._left -= time.thread_time() - began
        if tree is None:
            self.unread += 1
        return tree

    def _in(self, body: list[Any], scope: Scope, depth: int) -> Iterator[Call]:
        for node in walk(body):
            if isinstance(node, ast.With) and scope.is_async:
                yield from self._locks(node, scope)
            elif isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                inner = scope.functions.get(name) if depth > 0 else None
                if inner is not None:
                    yield from self._in(inner.body, scope, depth - 1)
                    continue
                called = scope.value(node.func)
                if waits(called) and not only_tries(node):
                    yield Call(name, scope.line(node))
                elif tool_of(called) is not None:
                    yield from self.of(tool_of(called), depth - 1)
                elif isinstance(called, FunctionType | MethodType):
                    yield from self.of(called, depth - 1)

    def _locks(self, node: ast.With, scope: Scope) -> Iterator[Call]:
        """A lock of threads that is held over an `await`."""
        held = [scope.value(item.context_expr) for item in node.items]
        kinds = [v.kind if isinstance(v, Made) else type(v) for v in held]
        waits = (ast.Await, ast.AsyncFor, ast.AsyncWith)
        if any(issubclass(k, LOCKS) for k in kinds) and any(
            isinstance(inner, waits) for inner in walk(node.body)
        ):
            name = ast.unparse(node.items[0].context_expr)
            yield Call(f"with {name}", scope.line(node))


def tree_of(function: Any) -> Any:
    """The syntax tree of a function; None where its source is not at hand.

    That is also so for a lambda in the middle of a longer line.
    """
    try:
        source = textwrap.dedent(inspect.getsource(function))
        tree = ast.parse(source)
    except (OSError, TypeError, SyntaxError, SystemError):
        return None
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    found = (node for node in ast.walk(tree) if isinstance(node, kinds))
    return next(found, None)


def plain(function: Any) -> Any:
    """Unwrap partials and callable objects down to a function or method."""
    while isinstance(function, functools.partial):
        function = function.func
    if not isinstance(function, FunctionType | MethodType):
        call = vars(type(function)).get("__call__")
        if isinstance(call, FunctionType):
            function = MethodType(call, function)
    return function


def tool_of(called: Any) -> Any:
    """The function of a sync tool whose `invoke` or `run` this is."""
    if not isinstance(called, Method) or called.name not in ("invoke", "run"):
        return None
    is_tool = isinstance(called.owner, BaseTool)
    return getattr(called.owner, "func", None) if is_tool else None


def walk(body: list[Any]) -> Iterator[Any]:
    """Every node that runs where it stands: not what inner functions do.

    What is awaited is not a call that blocks; its arguments may be.
    """
    todo = list(reversed(body))
    while todo:
        node = todo.pop()
        inner = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
        if isinstance(node, inner | ast.ClassDef):
            continue
        yield node
        todo += reversed(list(ast.iter_child_nodes(node)))


@dataclass(frozen=True)
class Method:
    """A method and what it is called on: an object, or one to be made."""

    owner: Any
    name: str

    @property
    def kind(self) -> type:
        made = isinstance(self.owner, Made)
        return self.owner.kind if made else type(self.owner)


class Scope:
    """Where a function finds its names."""

    def __init__(self, function: Any, tree: Any) -> None:
        code = function.__code__
        self.is_async = isinstance(tree, ast.AsyncFunctionDef)
        self.file, self.name = code.co_filename, code.co_name
        self.first = code.co_firstlineno - 1
        self.globals = inspect.unwrap(
            getattr(function, "__func__", function)
        ).__globals__
        self.names: dict[str, Any] = {}
        for name, cell in zip(
            code.co_freevars,
            getattr(function, "__closure__", None) or (),
            strict=False,
        ):
            try:
                self.names[name] = cell.cell_contents
            except ValueError:
                continue
        arguments = [a for a in ast.walk(tree.args) if isinstance(a, ast.arg)]
        self.parameters = {argument.arg for argument in arguments}
        if isinstance(function, MethodType) and tree.args.args:
            self.names[tree.args.args[0].arg] = function.__self__
        self.assigned: dict[str, Any] = {}
        self.functions: dict[str, Any] = {}
        for node in ast.walk(tree):
            self._note(node, tree)

    def _note(self, node: Any, tree: Any) -> None:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            if isinstance(node.targets[0], ast.Name):
                self.assigned[node.targets[0].id] = node.value
        elif isinstance(node, ast.With | ast.AsyncWith):
            for item in node.items:
                if isinstance(item.optional_vars, ast.Name):
                    self.assigned[item.optional_vars.id] = item.context_expr
        elif isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name if alias.asname else alias.name.split(".")[0]
                self.names[alias.asname or top] = sys.modules.get(top)
        elif isinstance(node, ast.ImportFrom):
            module = vars(sys.modules.get(node.module or "", object)).get
            for alias in node.names:
                self.names[alias.asname or alias.name] = module(alias.name)
        elif (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node is not tree
        ):
            self.functions[node.name] = node

    def line(self, node: Any) -> str:
        return written(self.file, self.first + node.lineno, self.name)

    def value(self, node: Any, depth: int = 8) -> Any:
        """What an expression is, as far as one can know; or None."""
        if not depth:
            return None
        if isinstance(node, ast.Name):
            return self._name(node.id, depth)
        if isinstance(node, ast.Attribute):
            return attribute(self.value(node.value, depth - 1), node.attr)
        if isinstance(node, ast.Call):
            return self._result(node, depth)
        if isinstance(node, ast.Subscript):
            return item(self.value(node.value, depth - 1), node.slice)
        if isinstance(node, ast.BinOp):  # a chain, `prompt | llm`
            sides = [self.value(s, depth - 1) for s in (node.right, node.left)]
            asked = (s for s in sides if waits(Method(s, "invoke")))
            return next(asked, None)
        return None

    def _name(self, name: str, depth: int) -> Any:
        if name in self.names:
            return self.names[name]
        if name in self.assigned:
            return self.value(self.assigned[name], depth - 1)
        if name in self.parameters:
            return None
        if name in self.globals:
            return self.globals[name]
        return getattr(builtins, name, None)

    def _result(self, node: ast.Call, depth: int) -> Any:
        called = self.value(node.func, depth - 1)
        if isinstance(called, type):
            return Made(called)
        if isinstance(called, Method):
            if called.name in SAME:
                return called.owner
            if called.name == "cursor":
                module = vars(sys.modules[called.kind.__module__])
                kind = module.get("Cursor")
            else:
                kind = RETURNS.get(called.name)
            return Made(kind) if kind else None
        key = called if isinstance(called, BuiltinFunctionType) else None
        kind = RETURNS.get(key) or RETURNS.get(
            getattr(called, "__name__", None)
        )
        if kind:
            return Made(kind)
        if name_of(called) in {("sqlite3", "connect"), ("psycopg", "connect")}:
            module = sys.modules[name_of(called)[0]]
            return Made(module.Connection)
        return made_by(called)


def only_tries(node: ast.Call) -> bool:
    """Whether it says that it does not wait, as `acquire(False)` does."""
    said = [k.value for k in node.keywords if k.arg in TRIES]
    if getattr(node.func, "attr", "") in ("acquire", "wait", "join"):
        said += node.args
    constants = [v.value for v in said if isinstance(v, ast.Constant)]
    return any(not c and c is not None for c in constants)


def item(owner: Any, key: ast.expr) -> Any:
    """What stands in a plain dict or list at a constant."""
    if type(owner) not in (dict, list) or not isinstance(key, ast.Constant):
        return None
    try:
        return owner[key.value]
    except (LookupError, TypeError):
        return None


def made_by(factory: Any) -> Any:
    """What a factory of yours returns, if it says so in one `return`."""
    if not isinstance(factory, FunctionType) or of_library(factory.__code__):
        return None
    tree = tree_of(factory)
    if tree is None:
        return None
    returned = [n.value for n in walk(tree.body) if isinstance(n, ast.Return)]
    if len(returned) == 1 and returned[0] is not None:
        return Scope(factory, tree).value(returned[0], 4)
    return None


def attribute(owner: Any, name: str) -> Any:
    """Look an attribute up without running a property."""
    if owner is None:
        return None
    if isinstance(owner, ModuleType):
        return vars(owner).get(name)
    if isinstance(owner, type):
        return inspect.getattr_static(owner, name, None)
    if not isinstance(owner, Made | Method):
        own = getattr(owner, "__dict__", {})
        if name in own:
            return own[name]
    kind = owner.kind if isinstance(owner, Made | Method) else type(owner)
    if isinstance(owner, Method):  # client.chat.completions.create
        any_method = ANY & {pair(k) for k in kind.__mro__}
        return Method(owner.owner, name) if any_method else None
    found = inspect.getattr_static(kind, name, None)
    if found is None and not ANY & {pair(k) for k in kind.__mro__}:
        return None
    is_function = isinstance(found, FunctionType)
    if is_function and not of_library(found.__code__):
        return found if isinstance(owner, Made) else MethodType(found, owner)
    return Method(owner, name)


def pair(kind: type) -> tuple[str, str]:
    return kind.__module__.partition(".")[0], kind.__name__


ANY = {key for key, names in METHODS.items() if "*" in names}


def name_of(function: Any) -> tuple[str, str]:
    module = getattr(function, "__module__", None) or ""
    name = getattr(function, "__name__", "")
    return module.partition(".")[0].removeprefix("_"), name


def waits(called: Any) -> bool:
    """Whether calling it keeps its thread until somebody else answers."""
    if isinstance(called, Method):
        for kind in called.kind.__mro__:
            names = METHODS.get(pair(kind), set())
            if called.name in names or "*" in names:
                return True
        return waits_for_a_model(called)
    if isinstance(called, FunctionType | BuiltinFunctionType):
        module, name = name_of(called)
        return name in FUNCTIONS.get(module, ())
    return False


def waits_for_a_model(called: Method) -> bool:
    kind = called.kind
    if issubclass(kind, BaseCheckpointSaver):
        return called.name in SAVER and not issubclass(kind, InMemorySaver)
    if called.name not in SYNC:
        return False
    asks = (BaseLanguageModel, BaseRetriever, Pregel, Embeddings)
    if issubclass(kind, asks):
        return True
    if issubclass(kind, Runnable) and not isinstance(called.owner, Made):
        if isinstance(called.owner, BaseTool):
            return False
        return bool(Reach(called.owner).of_kind(asks))
    return False
