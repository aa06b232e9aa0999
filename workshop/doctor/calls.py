"""The calls of a function that wait, found in its source and resolved.

A name is no call, and a call is looked up where the function would find it:
in its closure, its module, its `self`, or what it assigned itself. So
``cfg.sleep`` is nothing, and ``self.llm.invoke`` is found.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import concurrent.futures
import functools
import inspect
import linecache
import re
import sqlite3
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import islice
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    MethodType,
    ModuleType,
)
from typing import Any

from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel, BaseLanguageModel
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.pregel import Pregel
from langgraph.runtime import Runtime

from workshop.doctor.reach import ITEMS, Reach, of_library
from workshop.doctor.stalls import written

LINES = 2000  # of all functions that one examination reads
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
    "websocket": {"create_connection"},
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
    ("sqlalchemy", "Connection"): {"execute", "scalar", "scalars", "commit"},
    ("sqlalchemy", "Session"): {"execute", "scalar", "scalars", "commit"},
    ("psycopg_pool", "ConnectionPool"): {"connection", "getconn", "wait"},
    ("http", "HTTPConnection"): {"connect", "request", "getresponse"},
    ("smtplib", "SMTP"): {"*"},
    ("botocore", "BaseClient"): {"*"},
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
# What starts a loop of its own, which fails where one runs.
LOOPS = {"run", "run_until_complete", "run_forever"}
# What reads or writes files: seldom long, so it is a remark.
FILES: dict[str, set[str]] = {
    "io": {"open"},
    "shutil": {"copy", "copyfile", "copytree", "move", "rmtree"},
    "pathlib": {"open", "read_text", "read_bytes", "write_text"},
    "numpy": {"load", "loadtxt", "save"},
    "pandas": {"read_csv", "read_excel", "read_parquet", "read_sql"},
}
FILES["pathlib"] |= {"write_bytes"}
# What these of a library return, where they do not declare it.
LOCKS = (type(threading.Lock()), type(threading.RLock()))
RETURNS: dict[tuple[str, str], type] = {
    ("thread", "allocate_lock"): LOCKS[0],
    ("thread", "lock"): LOCKS[0],
    ("threading", "RLock"): LOCKS[1],
    ("asyncio", "run_coroutine_threadsafe"): concurrent.futures.Future,
    ("concurrent", "submit"): concurrent.futures.Future,
    ("asyncio", "get_event_loop"): asyncio.AbstractEventLoop,
    ("asyncio", "get_running_loop"): asyncio.AbstractEventLoop,
    ("asyncio", "new_event_loop"): asyncio.AbstractEventLoop,
    ("sqlite3", "connect"): sqlite3.Connection,
    ("sqlite3", "cursor"): sqlite3.Cursor,
    ("langchain", "create_agent"): Pregel,
    ("langgraph", "create_react_agent"): Pregel,
}
TRIES = {"block", "blocking", "timeout"}  # False or 0: it does not wait
APPLIES = {"map", "filter", "sorted", "min", "max", "functools.reduce"}
# Methods of a model that return one which is asked in the same way.
SAME = {"bind", "bind_tools", "with_config", "with_retry"}
SAME |= {"with_structured_output", "with_fallbacks"}


@dataclass(frozen=True)
class Call:
    """A call that waits: ``name`` as it is written, and its line.

    ``kind``: it `waits`, starts a `loop`, holds a `lock`, uses a `file`.
    """

    name: str
    line: str
    kind: str = "waits"


@dataclass(frozen=True)
class Made:
    """Some object of this class: it does not exist yet."""

    kind: type


@dataclass(frozen=True)
class AnyOf:
    """One of these, and nobody knows which."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Super:
    """What `super()` gives in a method of this class."""

    owner: Any
    after: type


class Calls:
    """Finds them; ``unread`` counts the functions it could not look into.

    ``scopes`` are those that it read, and ``endless`` has the lines that
    make a model without a time limit.
    """

    def __init__(self) -> None:
        self.unread = 0
        self.endless: list[str] = []
        self.scopes: list[Scope] = []
        self._left = LINES
        self._seen: dict[Any, list[Call]] = {}

    def of(self, function: Any, depth: int = DEPTH) -> list[Call]:
        """Return the calls that wait in a function or method of yours."""
        function = plain(function)
        owner = getattr(function, "__self__", None)
        code = getattr(function, "__code__", None)
        if code is None or of_library(code) or depth <= 0:
            return []
        key = (code, owner if isinstance(owner, Made) else id(owner))
        if key not in self._seen:
            self._seen[key] = []  # while it is read: it may call itself
            self._left -= lines_of(code)
            tree = tree_of(function) if self._left >= 0 else None
            if tree is None:
                self.unread += 1
                return []
            scope = Scope(function, tree)
            self.scopes.append(scope)
            self._seen[key] = list(self._in(tree.body, scope, depth))
        return self._seen[key]

    def _in(self, body: list[Any], scope: Scope, depth: int) -> Iterator[Call]:
        for node in walk(body):
            if isinstance(node, ast.With) and scope.is_async:
                yield from self._held(node, scope)
            elif isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                if name in APPLIES and depth > 0:
                    yield from self._applied(node, scope, depth - 1)
                inner = scope.functions.get(name) if depth > 0 else None
                if inner is not None:
                    yield from self._in(inner.body, scope, depth - 1)
                    continue
                called = scope.value(node.func)
                some = called.values if isinstance(called, AnyOf) else [called]
                for one in some:
                    yield from self._call(node, one, scope, depth)

    def _applied(
        self, node: ast.Call, scope: Scope, depth: int
    ) -> Iterator[Call]:
        """What `map`, `sorted` and the like call for each item."""
        for given in (*node.args, *(k.value for k in node.keywords)):
            if isinstance(given, ast.Lambda):
                yield from self._in([given.body], scope, depth)
            elif isinstance(given, ast.Name | ast.Attribute):
                yield from self.of(scope.value(given), depth)

    def _call(
        self, node: ast.Call, called: Any, scope: Scope, depth: int
    ) -> Iterator[Call]:
        kind = kind_of(called)
        if kind and not only_tries(node):
            yield Call(ast.unparse(node.func), scope.line(node), kind)
        elif tool_of(called) is not None:
            yield from self.of(tool_of(called), depth - 1)
        elif is_endless(called, node):
            self.endless.append(scope.line(node))
        elif not isinstance(called, type):
            yield from self.of(called, depth - 1)

    def _held(self, node: ast.With, scope: Scope) -> Iterator[Call]:
        """A lock of threads held over an `await`; a pool without one."""
        held = [scope.value(item.context_expr) for item in node.items]
        kinds = [v.kind if isinstance(v, Made) else type(v) for v in held]
        waits = (ast.Await, ast.AsyncFor, ast.AsyncWith)
        awaits = any(isinstance(inner, waits) for inner in walk(node.body))
        name = f"with {ast.unparse(node.items[0].context_expr)}"
        if awaits and any(issubclass(k, LOCKS) for k in kinds):
            yield Call(name, scope.line(node), "lock")
        elif not awaits and any(issubclass(k, Executor) for k in kinds):
            yield Call(name, scope.line(node))


def lines_of(code: CodeType) -> int:
    numbers = [number for *_, number in code.co_lines() if number]
    return max(numbers, default=0) - code.co_firstlineno + 1


def tree_of(function: Any) -> Any:
    """The syntax tree of a function; None where its source is not at hand.

    That is also so for a lambda in the middle of a longer line.
    """
    code = getattr(function, "__func__", function).__code__
    return tree_of_code(code)  # `function` may be a decorator's


@functools.lru_cache(maxsize=500)
def tree_of_code(code: CodeType) -> Any:
    try:
        # `inspect.getsource` looks through all modules, which is slow.
        lines = linecache.getlines(code.co_filename)[code.co_firstlineno - 1 :]
        tree = ast.parse(textwrap.dedent("".join(inspect.getblock(lines))))
    except (OSError, TypeError, SyntaxError, SystemError):
        return None
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    found = (node for node in ast.walk(tree) if isinstance(node, kinds))
    return next(found, None)


def plain(function: Any) -> Any:
    """Unwrap partials and callable objects down to a function or method.

    Through the decorators of libraries, too, if they run it where it is
    called: a coroutine function around a sync one has a thread for it.
    """
    while not is_own(function):
        own = getattr(function, "__dict__", {})
        if isinstance(function, functools.partial):
            function = function.func
        elif "__wrapped__" in own and (
            not is_async(function) or is_async(own["__wrapped__"])
        ):  # a task of LangGraph, a cached or a retried function
            function = own["__wrapped__"]
        else:
            break
    if not isinstance(function, FunctionType | MethodType):
        call = inspect.getattr_static(type(function), "__call__", None)
        if isinstance(call, FunctionType):
            function = MethodType(call, function)
    return function


def tool_of(called: Any) -> Any:
    """The function of a sync tool whose `invoke` or `run` this is."""
    if not isinstance(called, Method) or called.name not in ("invoke", "run"):
        return None
    is_tool = isinstance(called.owner, BaseTool)
    return sync_tool(called.owner) if is_tool else None


def sync_tool(tool: BaseTool) -> Any:
    """The function that a tool runs for `invoke`, if it is yours."""
    own = MethodType(type(tool)._run, tool)
    return own if is_own(own) else getattr(tool, "func", None)


COROUTINE = 0x80 | 0x200  # CO_COROUTINE, CO_ASYNC_GENERATOR


def is_async(function: object) -> bool:
    code = getattr(function, "__code__", None)
    return code is not None and bool(code.co_flags & COROUTINE)


def is_own(function: Any) -> bool:
    code = getattr(function, "__code__", None)
    return code is not None and not of_library(code)


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
        self.tree = tree
        self.owner = getattr(function, "__self__", None)
        code = function.__code__
        self.is_async = isinstance(tree, ast.AsyncFunctionDef)
        self.file, self.name = code.co_filename, code.co_name
        self.first = code.co_firstlineno - 1
        self.globals = getattr(function, "__func__", function).__globals__
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
        self.parameters = {a.arg: a.annotation for a in arguments}
        if isinstance(function, MethodType) and tree.args.args:
            self.names[tree.args.args[0].arg] = function.__self__
        self.assigned: dict[str, Any] = {}
        self.filled: dict[str, list[Any]] = {}  # all that goes into a name
        self.functions: dict[str, Any] = {}
        for node in ast.walk(tree):
            self._note(node, tree)

    def _note(self, node: Any, tree: Any) -> None:
        for name, value in puts(node):
            self.filled.setdefault(name, []).append(value)
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            if isinstance(node.targets[0], ast.Name):
                self.assigned[node.targets[0].id] = node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            if isinstance(node.target, ast.Name):
                self.assigned[node.target.id] = node.value
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

    def value(self, node: Any, depth: int = 12) -> Any:
        """What an expression is, as far as one can know; or None."""
        if not depth:
            return None
        if isinstance(node, ast.Name):
            return self._name(node.id, depth)
        if isinstance(node, ast.Await):
            return self.value(node.value, depth)
        if isinstance(node, ast.Attribute):
            return attribute(self.value(node.value, depth - 1), node.attr)
        if isinstance(node, ast.Call):
            return self._result(node, depth)
        if isinstance(node, ast.Subscript):
            return item(self.value(node.value, depth - 1), node.slice)
        if isinstance(node, ast.IfExp):
            both = node.body, node.orelse
            return AnyOf(tuple(self.value(one, depth - 1) for one in both))
        if isinstance(node, ast.BinOp):  # a chain, `prompt | llm`
            sides = [self.value(s, depth - 1) for s in (node.right, node.left)]
            asked = (s for s in sides if kind_of(Method(s, "invoke")))
            return next(asked, None)
        return None

    def _name(self, name: str, depth: int) -> Any:
        if name in self.names:
            return self.names[name]
        if name in self.assigned:
            return self.value(self.assigned[name], depth - 1)
        if name in self.parameters:
            return self._declared(self.parameters[name], depth)
        if name in self.globals:
            return self.globals[name]
        return getattr(builtins, name, None)

    def _declared(self, annotation: Any, depth: int) -> Any:
        """What a parameter is, by its annotation."""
        if isinstance(annotation, ast.Subscript):  # Runtime[Context]
            whole = self.value(annotation.value, depth - 1)
            inner = self.value(annotation.slice, depth - 1)
            if whole is Runtime and isinstance(inner, type):
                return Runtime(context=Made(inner))
            return None
        kind = self.value(annotation, depth - 1)
        return Made(kind) if isinstance(kind, type) else None

    def _result(self, node: ast.Call, depth: int) -> Any:
        called = self.value(node.func, depth - 1)
        if called is super and "__class__" in self.names:
            return Super(self.owner, self.names["__class__"])
        if isinstance(called, type):
            return Made(called)
        if isinstance(called, Method) and called.name in SAME:
            return called.owner
        if isinstance(called, Method) and called.kind is dict:
            return AnyOf(tuple(islice(called.owner.values(), ITEMS)))
        return made_by(called, depth - 1)


def puts(node: Any) -> Iterator[tuple[str, Any]]:
    """Yield a name and what is put into it, or into its list."""
    if isinstance(node, ast.Assign):
        names = node.targets
    elif isinstance(node, ast.AugAssign | ast.AnnAssign) and node.value:
        names = [node.target]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if isinstance(node.func.value, ast.Name):
            for value in node.args:
                yield node.func.value.id, value
        return
    else:
        return
    for name in names:
        if isinstance(name, ast.Name):
            yield name.id, node.value


def only_tries(node: ast.Call) -> bool:
    """Whether it says that it does not wait, as `acquire(False)` does."""
    said = [k.value for k in node.keywords if k.arg in TRIES]
    if getattr(node.func, "attr", "") in ("acquire", "wait", "join"):
        said += node.args
    constants = [v.value for v in said if isinstance(v, ast.Constant)]
    return any(not c and c is not None for c in constants)


def item(owner: Any, key: ast.expr) -> Any:
    """What stands in a plain dict or list at a key."""
    if type(owner) not in (dict, list):
        return None
    if not isinstance(key, ast.Constant):
        values = owner.values() if isinstance(owner, dict) else owner
        return AnyOf(tuple(islice(values, ITEMS)))
    try:
        return owner[key.value]
    except (LookupError, TypeError):
        return None


def made_by(factory: Any, depth: int) -> Any:
    """What a function returns: as it says in one `return`, or declares."""
    if isinstance(factory, Method):
        function = inspect.getattr_static(factory.kind, factory.name, None)
        return declared_by(function, factory.kind, factory.name)
    function = plain(factory)
    tree = tree_of(function) if is_own(function) else None
    if tree is not None:
        returns = [n for n in walk(tree.body) if isinstance(n, ast.Return)]
        if len(returns) == 1 and returns[0].value is not None:
            made = Scope(function, tree).value(returns[0].value, depth)
            if made is not None:
                return made
        if isinstance(getattr(function, "__self__", None), type):
            return Made(function.__self__)  # `Service.create()`
    return declared_by(function, getattr(function, "__self__", None))


def declared_by(function: Any, owner: Any, name: str = "") -> Any:
    """What the annotation of its `return` says, or is known of it."""
    try:
        said = function.__annotations__.get("return")
    except (AttributeError, NameError):  # a builtin; a name for checkers
        said = None
    if isinstance(said, str):
        said = re.split(r"[\[ |]", said)[0]
        around = getattr(function, "__func__", function).__globals__
        said = owner if said == "Self" else around.get(said)
    if not isinstance(said, type):
        known = (pair(owner)[0], name) if name else name_of(function)
        said = RETURNS.get(known)
    return Made(said) if isinstance(said, type) else None


def attribute(owner: Any, name: str) -> Any:
    """Look an attribute up without running a property."""
    if owner is None:
        return None
    if isinstance(owner, AnyOf):
        return AnyOf(tuple(attribute(one, name) for one in owner.values))
    if isinstance(owner, Super):
        made = isinstance(owner.owner, Made)
        kinds = (owner.owner.kind if made else type(owner.owner)).__mro__
        if owner.after not in kinds:  # a function without its object
            return None
        later = kinds[kinds.index(owner.after) + 1 :]
        found = next((vars(k)[name] for k in later if name in vars(k)), None)
        return MethodType(found, owner.owner) if is_own(found) else None
    if isinstance(owner, ModuleType):
        return vars(owner).get(name)
    if isinstance(owner, type):
        found = inspect.getattr_static(owner, name, None)
        if isinstance(found, classmethod):
            return MethodType(found.__func__, owner)
        return getattr(found, "__func__", found)  # of a staticmethod
    if not isinstance(owner, Made | Method):
        own = getattr(owner, "__dict__", {})
        if name in own:
            return own[name]
        if isinstance(owner, Runtime):
            return getattr(owner, name)  # it has slots, and no property
    kind = owner.kind if isinstance(owner, Made | Method) else type(owner)
    if isinstance(owner, Method):  # client.chat.completions.create
        any_method = ANY & {pair(k) for k in kind.__mro__}
        return Method(owner.owner, name) if any_method else None
    found = inspect.getattr_static(kind, name, None)
    if isinstance(found, classmethod | staticmethod):
        return attribute(kind, name)
    if isinstance(found, FunctionType) and is_own(found):
        return MethodType(found, owner)
    if found is None and not ANY & {pair(k) for k in kind.__mro__}:
        return set_by_init(kind, name)
    if found is not None and not hasattr(type(found), "__get__"):
        return found  # an attribute of the class
    return Method(owner, name)


def set_by_init(kind: type, name: str) -> Any:
    """What the objects of your class have there, before there is one."""
    field = getattr(kind, "__dataclass_fields__", {}).get(name)
    if field is not None:
        known = field.default_factory, field.type
        return next((Made(k) for k in known if isinstance(k, type)), None)
    start = kind.__init__
    tree = tree_of(start) if is_own(start) else None
    for node in ast.walk(tree) if tree is not None else ():
        if (
            isinstance(node, ast.Assign)
            and ast.unparse(node.targets[0])
            == f"{tree.args.args[0].arg}.{name}"
        ):
            scope = Scope(MethodType(start, Made(kind)), tree)
            return scope.value(node.value, 4)
    return None


def pair(kind: type) -> tuple[str, str]:
    return kind.__module__.partition(".")[0], kind.__name__


ANY = {key for key, names in METHODS.items() if "*" in names}


def name_of(function: Any) -> tuple[str, str]:
    module = getattr(function, "__module__", None) or ""
    name = getattr(function, "__name__", "")
    return module.partition(".")[0].removeprefix("_"), name


def kind_of(called: Any) -> str:
    """Whether and how calling it keeps its thread: see ``Call``."""
    if isinstance(called, MethodType) and not is_own(called):
        called = Method(called.__self__, called.__name__)
    if isinstance(called, Method):
        pairs = [pair(kind) for kind in called.kind.__mro__]
        if ("asyncio", "AbstractEventLoop") in pairs and called.name in LOOPS:
            return "loop"
        if any(called.name in FILES.get(module, ()) for module, _ in pairs):
            return "file"
        names = set().union(*(METHODS.get(key, set()) for key in pairs))
        known = called.name in names or "*" in names
        return "waits" if known or waits_for_a_model(called) else ""
    if isinstance(called, FunctionType | BuiltinFunctionType):
        module, name = name_of(called)
        if called is asyncio.run:
            return "loop"
        if name in FILES.get(module, ()):
            return "file"
        return "waits" if name in FUNCTIONS.get(module, ()) else ""
    return ""


def is_endless(called: Any, node: ast.Call) -> bool:
    """Whether this makes a chat model that has no time limit."""
    if not isinstance(called, type) or not issubclass(called, BaseChatModel):
        return False
    said = {k.arg for k in node.keywords}
    limits = {"timeout", "request_timeout", None}  # None: `**options`
    return "request_timeout" in called.model_fields and not said & limits


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
