"""The kit that the judges are written with.

A judge reads like the contract of its task: one probe a sentence, and each
probe ends in a ``raise Wrong`` with the sentence that names the mistake.
A whole one, for "Write ``answer_all(graph, questions)``. It returns a list
of texts, in the order of the questions. All are in flight at once"::

    async def questions_together(answer):
        for questions in (THREE, FIVE):  # two values of each parameter
            model = ScriptedModel.watching(answer, lambda _: [PAUSE, "Soup"])
            graph = chat_graph(model)
            asking = start(result(answer, graph=graph, questions=questions))
            # "all are in flight at once": they wait there, however slow
            await model.waits_for(len(questions), asking)
            model.must_be_used("graph")
            if model.in_flight < len(questions):
                raise Wrong(f"{count(model.peak, 'request')} at once, ...")
            # "in the order of the questions": the first is ready last
            await model.finish(reversed(model.calls), asking)
            if texts_of(await asking) != [...]:
                raise Wrong("the texts are in another order")
        return "all at once, in order"

What the probes share stands here once:

- *who answers*: ``ScriptedModel``, in this process, which a judge stops and
  lets go where it likes (``PAUSE``), and whose ``calls`` say what the model
  got; ``kitchen``, a practice model over HTTP with a meter and faults;
  ``Play``, any stream of parts;
- *awkward data*: ``AWKWARD_TOKENS``, ``AWKWARD_PARTS``;
- *who leaves*: ``leave`` a stream by each of ``WAYS_TO_LEAVE``, ``stop`` a
  task;
- *what fails inside*: ``failures``, which a script has among its parts;
- *how long*: ``until`` and ``settled`` count turns of the event loop and
  know no seconds, so that a slow machine only takes longer.

Call each answer twice, with two values of each parameter, and again after
a failure. Let it wait for counts, never for seconds.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import linecache
import operator
import sys
import threading
import time
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
    Sequence,
)
from concurrent.futures import Future
from contextlib import aclosing, asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Annotated, Any, TypedDict, TypeVar

import anyio
import httpx2
import openai
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessageChunk,
    BaseMessage,
    message_chunk_to_message,
)
from langchain_core.outputs import (
    ChatGeneration,
    ChatGenerationChunk,
    ChatResult,
)
from langchain_core.runnables import RunnableLambda
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph
from pydantic import Field, PrivateAttr

from workshop.model import Counts, Model, practice_model

T = TypeVar("T")
Answer = Callable[..., Any]

TURN = 0.01  # seconds between two looks at a condition
STILL = 100  # turns without a change: nothing more will happen by itself
PATIENCE = 500  # turns for something that must happen

# Tokens that a careless reader loses, joins or splits.
AWKWARD_TOKENS = ["Soup", "\n\n", "0", " ", "no", "no", "{}", "\n", "\u2028é"]
# Parts of a stream that are falsy, None or equal.
AWKWARD_PARTS = [0, None, "", "soup", "soup", False, [], {}, "bread"]

LATE = "nothing was streamed: it came when the model had finished"
TWICE = "each node is named twice: `tasks` tells of its start and of its end"
NESTED = (
    "nest_asyncio has changed asyncio in this kernel: restart it and leave "
    "nest_asyncio out"
)


class Wrong(Exception):
    """The sentence that names the mistake in an answer."""


# --- a stream that a judge stops and lets go


class _Pause:
    def __repr__(self) -> str:
        return "PAUSE"


PAUSE = _Pause()  # as a part: wait here until the judge says ``release``


class Play:
    """A stream of ``parts``, and what became of it.

    A part is given out as it is. At ``PAUSE`` the stream waits for
    ``release``; a part that is an exception is raised. ``outcome`` is None
    while it runs, then ``done``, ``failed`` or ``cut off``.
    """

    def __init__(self, parts: Iterable[Any]) -> None:
        self.parts = list(parts)
        self.sent = 0  # parts given out
        self.outcome: str | None = None
        self.waiting = False  # at a PAUSE
        self._passes = 0
        # the loop of the stream, which may be another one, and its alarm
        self._wake: tuple[Any, asyncio.Event] | None = None

    def release(self, pauses: int = 1_000_000) -> None:
        """Let it pass one PAUSE, or all that are to come."""
        self._passes += pauses
        if self._wake is not None:
            loop, event = self._wake
            with suppress(RuntimeError):  # that loop has ended
                loop.call_soon_threadsafe(event.set)

    async def finish(self) -> None:
        """Let it run to its end, and wait for that."""
        self.release()
        await until(lambda: self.outcome)

    async def stream(self) -> AsyncIterator[Any]:
        """The parts; to be called once."""
        with closing(self._walk()) as parts:
            for part in parts:
                if part is not PAUSE:
                    yield part
                    continue
                event = asyncio.Event()
                self._wake = asyncio.get_running_loop(), event
                while not self._may_pass():
                    await event.wait()
                    event.clear()

    def stream_in_thread(self, no_pause: Callable[[], bool]) -> Iterator[Any]:
        """The parts for a blocking call; no PAUSE if nobody could end it."""
        with closing(self._walk()) as parts:
            for part in parts:
                if part is not PAUSE:
                    yield part
                    continue
                while not no_pause() and not self._may_pass():
                    time.sleep(5 * TURN)  # there may be many

    def _walk(self) -> Generator[Any]:
        """The parts, each PAUSE too; notes what becomes of them."""
        try:
            for part in self.parts:
                if isinstance(part, BaseException):
                    self.outcome = "failed"
                    raise part
                self.sent += part is not PAUSE
                yield part
            self.outcome = "done"
        finally:
            self.waiting = False
            self.outcome = self.outcome or "cut off"

    def _may_pass(self) -> bool:
        self.waiting = self._passes == 0
        if self.waiting:
            return False
        self._passes -= 1
        return True


# --- who sees that the event loop is blocked


@dataclass
class Watch:
    """Looks from within a blocking call who waits for it.

    ``blocking`` has one entry for each blocking call: the line of the
    answer that kept the event loop waiting, or None if the loop was free.
    """

    file: str | None
    thread: int = field(default_factory=threading.get_ident)
    blocking: list[str | None] = field(default_factory=list)

    def note_blocking_call(self, *_: object) -> None:
        """To be called from within a blocking call."""
        self.blocking.append(self._line_that_waits())

    def _line_that_waits(self) -> str | None:
        """The line at which the loop stands still; a free one moves on.

        On a busy machine a free one stands still for a while as well.
        """
        sure = 20 if any(self.blocking) else 80
        before, still = None, 0
        for _ in range(300):
            frame = sys._current_frames()[self.thread]
            line = line_on(stack_of(frame), self.file)
            still = still + 1 if frame is before else 0
            before = frame
            if line is None or still == sure:
                break
            if threading.get_ident() == self.thread:
                break
            time.sleep(0.01)
        return line

    def must_not_block(self, effect: str = "") -> None:
        """Raise Wrong with the line that blocked the loop, if one did."""
        lines = [line for line in self.blocking if line]
        if lines:
            raise Wrong(f"`{lines[0]}` blocks the event loop{effect}")


# --- a model in this process


class Call(Play):
    """A call of the scripted model; ``messages`` is what the model got."""

    def __init__(self, messages: list[BaseMessage], parts: list[Any]) -> None:
        super().__init__(parts)
        self.messages = messages

    @property
    def asked(self) -> str:
        """What the user said last."""
        return _asked(self.messages)

    @property
    def got(self) -> list[str]:
        """The texts of all messages."""
        return [str(message.text) for message in self.messages]


def _asked(messages: list[BaseMessage]) -> str:
    said = [m for m in messages if m.type == "human"] or messages
    return str(said[-1].text)


def words(asked: str) -> list[Any]:
    """The script of a model without one: a reply of some words."""
    return ["A", " reply", " to", f" {asked}"]


def _running_task() -> asyncio.Task[Any] | None:
    with suppress(RuntimeError):
        return asyncio.current_task()
    return None


class ScriptedModel(BaseChatModel):
    """A chat model whose answer to a user's text is ``script(text)``.

    The parts of a script are texts or ``AIMessageChunk``, with ``PAUSE``
    and exceptions among them as in ``Play``. ``calls`` has all calls so
    far, in the order in which they came.
    """

    script: Callable[[str], list[Any]] = words
    watch: Any = Field(default_factory=lambda: Watch(None))
    _calls: list[Call] = PrivateAttr(default_factory=list)
    _peak: int = PrivateAttr(default=0)
    _judge: Any = PrivateAttr(default_factory=_running_task)

    @classmethod
    def watching(
        cls, answer: Answer, script: Callable[[str], list[Any]] = words
    ) -> ScriptedModel:
        """One that can name the line of ``answer`` that blocks the loop."""
        return cls(script=script, watch=Watch(file_of(answer)))

    @property
    def calls(self) -> list[Call]:
        return self._calls

    @property
    def running(self) -> list[Call]:
        """The calls in flight."""
        return [call for call in self._calls if call.outcome is None]

    @property
    def in_flight(self) -> int:
        return len(self.running)

    @property
    def peak(self) -> int:
        """The most calls that were in flight at once."""
        return self._peak

    @property
    def cut_off(self) -> int:
        """The calls that were ended before their end."""
        return sum(call.outcome == "cut off" for call in self._calls)

    def release(self) -> None:
        """Let all calls in flight run on."""
        for call in self.running:
            call.release()

    async def waits_for(
        self, calls: int, answer: asyncio.Task[Any] | None = None
    ) -> None:
        """Wait until so many calls are in flight.

        Return before that if ``answer`` ends, or if nothing more happens.
        """
        await settled(
            lambda: (len(self._calls), self.in_flight),
            lambda: (
                self.in_flight >= calls
                or (answer is not None and answer.done())
            ),
        )

    async def finish(
        self, calls: Iterable[Call], answer: asyncio.Future[Any]
    ) -> bool:
        """Let the calls end in this order, and then all others.

        Each has been noticed before the next one goes on. Returns whether
        ``answer`` has ended; it waits no longer if nothing more happens.
        """
        for call in list(calls):
            await call.finish()
            await settled(answer.done, still=5)

        def progress() -> int:
            self.release()
            return len(self._calls)

        await settled(progress, answer.done, still=2 * STILL)
        return answer.done()

    async def idle(self) -> bool:
        """Wait until nothing is in flight; whether that came true."""
        return await until(lambda: not self.in_flight)

    def must_be_used(self, name: str) -> None:
        """Raise Wrong if the answer asked some other model, or none."""
        if not self._calls:
            raise Wrong(_not_used(name))

    def must_be_asked(self, name: str) -> None:
        """Raise Wrong if it was not this model, or not without blocking."""
        self.must_be_used(name)
        self.watch.must_not_block(": nothing else runs meanwhile")

    async def value_of(self, answer: asyncio.Task[T], name: str) -> T:
        """What the answer returns; who waits for another model never ends."""
        if not answer.done():
            self.must_be_used(name)
        return await answer

    def must_be_idle(self, who: str) -> None:
        """Raise Wrong if a call still runs after ``who`` has left."""
        if self.in_flight:
            raise Wrong(
                f"{who}, and the model wrote on: "
                f"{count(self.in_flight, 'call')} not cut off"
            )

    # what LangChain asks of a model

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _begin(self, messages: list[BaseMessage]) -> Call:
        call = Call(list(messages), self.script(_asked(messages)))
        self._calls.append(call)
        self._peak = max(self._peak, self.in_flight)
        return call

    async def _astream(
        self, messages: list[BaseMessage], *_: Any, **__: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        async with aclosing(self._begin(messages).stream()) as stream:
            async for part in stream:
                yield ChatGenerationChunk(message=_chunk(part))

    async def _agenerate(
        self, messages: list[BaseMessage], *_: Any, **__: Any
    ) -> ChatResult:
        async with aclosing(self._begin(messages).stream()) as stream:
            return _whole([part async for part in stream])

    def _stream(
        self, messages: list[BaseMessage], *_: Any, **__: Any
    ) -> Iterator[ChatGenerationChunk]:
        for part in self._begin_blocking(messages):
            yield ChatGenerationChunk(message=_chunk(part))

    def _generate(
        self, messages: list[BaseMessage], *_: Any, **__: Any
    ) -> ChatResult:
        return _whole(list(self._begin_blocking(messages)))

    def _begin_blocking(self, messages: list[BaseMessage]) -> Iterator[Any]:
        call = self._begin(messages)
        self.watch.note_blocking_call()
        blocked = self.watch.blocking[-1] is not None

        def no_pause() -> bool:
            """The loop waits for it, or its judge has ended."""
            return blocked or (self._judge is not None and self._judge.done())

        return call.stream_in_thread(no_pause)


class AgentModel(ScriptedModel):
    """A scripted model that takes tools; its script may call one.

    When the tool's result comes, the script gets an empty text.
    """

    def _begin(self, messages: list[BaseMessage]) -> Call:
        call = super()._begin(messages)
        if messages[-1].type == "tool":
            call.parts = self.script("")
        return call

    def bind_tools(self, *_: Any, **__: Any) -> AgentModel:
        return self


def tool_call(name: str, args: str, index: int = 0) -> AIMessageChunk:
    """A call of a tool, ``args`` as JSON, in one piece."""
    piece = {"name": name, "args": args, "id": f"call_{index}", "index": index}
    return AIMessageChunk(content="", tool_call_chunks=[piece])


def _chunk(part: Any) -> AIMessageChunk:
    if isinstance(part, AIMessageChunk):
        return part
    return AIMessageChunk(content=part)


def _whole(parts: list[Any]) -> ChatResult:
    whole = AIMessageChunk(content="")
    for part in parts:
        whole = whole + _chunk(part)
    message = message_chunk_to_message(whole)
    return ChatResult(generations=[ChatGeneration(message=message)])


def _not_used(name: str) -> str:
    return (
        f"the model behind `{name}` saw 0 requests: use the argument, "
        "nothing from the notebook"
    )


def asks(llm: BaseChatModel) -> RunnableLambda:
    """A node that answers with the model.

    It can be used both ways, so that a blocking call is seen and named.
    """

    def reply(state: MessagesState) -> dict[str, Any]:
        return {"messages": [llm.invoke(state["messages"])]}

    async def areply(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await llm.ainvoke(state["messages"])]}

    return RunnableLambda(reply, areply)


class Dishes(TypedDict):
    """The state of graphs that need no model."""

    dishes: Annotated[list[str], operator.add]


def chain(
    nodes: dict[str, Any], state: type = MessagesState, saver: Any = None
) -> CompiledStateGraph:
    """A graph of these nodes, one after the other."""
    builder = StateGraph(state)
    builder.add_sequence(list(nodes.items()))
    builder.add_edge(START, next(iter(nodes)))
    return builder.compile(checkpointer=saver)


def chat_graph(llm: BaseChatModel, saver: Any = None) -> CompiledStateGraph:
    """A graph whose one node, ``reply``, asks the model."""
    return chain({"reply": asks(llm)}, saver=saver)


# --- a model over HTTP


@dataclass
class Kitchen(Watch):
    """A practice model for one check alone, and who waited for it."""

    model: Model = field(kw_only=True)
    llm: ChatOpenAI = field(kw_only=True)

    def must_be_used(self, meter: Counts, name: str) -> None:
        """Raise Wrong if the answer asked some other model, or none."""
        if meter.requests == 0:
            raise Wrong(_not_used(name))


@asynccontextmanager
async def kitchen(
    answer: Answer, ttft: float, per_token: float = 0.01
) -> AsyncIterator[Kitchen]:
    """Open a kitchen with HTTP clients of its own; times in seconds."""
    model = practice_model()
    model.pace(ttft=ttft, per_token=per_token)
    client = openai.DefaultAsyncHttpxClient()
    sync_client = openai.DefaultHttpxClient()
    llm = ChatOpenAI(
        model=model.name,
        base_url=model.base_url,
        api_key=model.key,
        stream_usage=True,
        http_async_client=client,
        http_client=sync_client,
    )
    place = Kitchen(file_of(answer), model=model, llm=llm)
    sync_client.event_hooks = {"request": [place.note_blocking_call]}
    try:
        yield place
    finally:
        sync_client.close()
        with suppress(RuntimeError):  # the answer used it in another loop
            await client.aclose()


def failures() -> dict[str, Exception]:
    """What goes wrong inside, a new exception of each kind.

    A bug of a node, and what the client raises of the model. The rate
    limit has no Retry-After, as many have none.
    """
    request = httpx2.Request("POST", "http://127.0.0.1/v1/chat/completions")

    def status(code: int) -> dict[str, Any]:
        response = httpx2.Response(code, request=request)
        return {"response": response, "body": None}

    return {
        "a bug in a node": KeyError("dish"),
        "no connection": openai.APIConnectionError(request=request),
        "a rate limit": openai.RateLimitError("Slow down", **status(429)),
        "a server error": openai.InternalServerError("Oops", **status(500)),
    }


# --- time, in turns of the loop


async def until(
    condition: Callable[[], object], turns: int = PATIENCE
) -> bool:
    """Wait until it is true; whether it came true within the turns.

    A turn is a look every 10 ms after which everything that was ready in
    the loop has run. A slow machine takes longer for each.
    """
    for _ in range(turns):
        if condition():
            return True
        await asyncio.sleep(TURN)
    return bool(condition())


async def turns(number: int = 10) -> None:
    """Let everything run that is ready, so many times."""
    for _ in range(number):
        await asyncio.sleep(TURN)


async def settled(
    read: Callable[[], T],
    enough: Callable[[], object] = lambda: False,
    still: int = STILL,
) -> T:
    """Wait until what is read stays the same for ``still`` turns.

    ``enough`` ends it before. Returns what was read last.
    """
    value, same = read(), 0
    while same < still and not enough():
        await asyncio.sleep(TURN)
        before, value = value, read()
        same = same + 1 if value == before else 0
    return read()


class Clock:
    """The event loop's own clock, which a judge puts forward.

    So a time is over when the judge says so, on a slow machine as well.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        real, self.ahead = loop.time, 0.0
        loop.time = lambda: real() + self.ahead

    def forward(self, seconds: float) -> None:
        self.ahead += seconds


async def some_time_later() -> None:
    """Ten seconds: a limit that nobody asked for is over, if it is short."""
    Clock().forward(10)
    await turns()


async def together(*probes: Coroutine[Any, Any, Any]) -> list[Any]:
    """What the probes return; they wait at once, each on its own things.

    Raises what the first of them raised, in their order.
    """
    outcomes = await asyncio.gather(*probes, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return outcomes


# --- calling an answer


def call(answer: Callable[..., T], **given: Any) -> T:
    """Call the answer by position; the names are for the sentence."""
    try:
        inspect.signature(answer).bind(*given.values())
    except TypeError:
        takes = inspect.signature(answer)
        raise Wrong(
            f"it is called with ({', '.join(given)}) but takes {takes}"
        ) from None
    except ValueError:  # a builtin without a signature
        pass
    return answer(*given.values())


async def result(answer: Answer, **given: Any) -> Any:
    """Call the answer, and await what it returns if that can be awaited."""
    value = call(answer, **given)
    return await value if inspect.isawaitable(value) else value


def stream_of(
    answer: Answer,
    words: str = "an async generator: `yield` each piece",
    **given: Any,
) -> AsyncIterator[Any]:
    """Call an answer that gives an async stream, whatever makes it one."""
    value = call(answer, **given)
    return aiter(expect(value, AsyncIterable, words))


async def in_script(answer: Answer, **given: Any) -> Any:
    """Call the answer in a thread that has no event loop, as a script."""

    def script() -> tuple[Any, BaseException | None]:
        try:
            return call(answer, **given), None
        except BaseException as error:  # also SystemExit
            return None, error

    value, error = await asyncio.wrap_future(in_thread(script)[1])
    if error is not None:
        raise error
    return value


async def all_at_once(
    answer: Answer, model: ScriptedModel, **given: Any
) -> Any:
    """What the answer returns for ``questions``, if it asks all at once.

    The model's script must begin with a PAUSE. The first asked ends last.
    """
    asking, number = start(result(answer, **given)), len(given["questions"])
    await model.waits_for(number, asking)
    at_once = model.peak
    await model.finish(reversed(model.calls), asking)
    value = await asking
    model.must_be_asked(next(iter(given)))
    if at_once < number:
        raise Wrong(
            f"at most {count(at_once, 'request')} of {number} in flight: ask "
            "all at once"
        )
    return value


async def must_raise(
    kind: str, error: BaseException, answer: Awaitable[Any]
) -> None:
    """Raise Wrong unless the answer lets an error of this kind out."""
    try:
        await answer
    except (type(error), ExceptionGroup):
        return
    raise Wrong(f"{kind} was swallowed: let it out")


def start(answer: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task whose failure nobody reports if the judge ends before it."""
    task = asyncio.create_task(answer)
    task.add_done_callback(lambda t: t.cancelled() or t.exception())
    return task


async def stop(task: asyncio.Task[Any]) -> bool:
    """Cancel it as a caller who leaves; whether it ended by that."""
    task.cancel()
    return await until(task.done)


async def collect(stream: AsyncIterator[Any], parts: list[Any]) -> None:
    """Read a stream to its end; each part is in ``parts`` as it comes."""
    async for part in stream:
        parts.append(part)


class Reader:
    """Reads a stream along; ``parts`` is what came so far."""

    def __init__(self, stream: AsyncIterator[Any]) -> None:
        self.parts: list[Any] = []
        self.task = start(collect(stream, self.parts))
        self.done = self.task.done

    async def has(self, number: int, still: int = STILL) -> bool:
        """Wait for so many parts; False if nothing more comes."""
        await settled(
            lambda: len(self.parts),
            lambda: len(self.parts) >= number or self.done(),
            still,
        )
        return len(self.parts) >= number

    async def must_end(self, mistake: str) -> None:
        """Wait for the end, and raise what it raised."""
        await settled(lambda: len(self.parts), self.done)
        if not self.done():
            raise Wrong(mistake)
        await self.task


WAYS_TO_LEAVE = ("cancel", "aclose", "anyio")


async def leave(
    stream: AsyncIterator[Any],
    when: Callable[[list[Any]], object],
    by: str,
) -> list[Any]:
    """Read a stream, and leave it as soon as ``when(parts)`` is true.

    ``by`` says how: ``cancel`` the task that reads; ``aclose`` at a yield;
    ``anyio``, as a web server cancels, again and again. Returns the parts
    that had come. With ``aclose`` at least one part must have come.
    """
    parts: list[Any] = []
    if by == "aclose":
        async for part in stream:
            parts.append(part)
            if when(parts):
                break
        await stream.aclose()
    elif by == "cancel":
        reading = start(collect(stream, parts))
        await until(lambda: when(parts) or reading.done())
        await stop(reading)
    else:
        async with anyio.create_task_group() as group:
            group.start_soon(collect, stream, parts)
            await until(lambda: when(parts))
            group.cancel_scope.cancel()
    return parts


async def depends_on(
    answer: Answer, name: str, judge: Answer, task: str
) -> None:
    """Judge the function of an earlier task, if the answer uses it."""
    if name not in names_in(answer):
        return
    try:
        await judge(inspect.unwrap(answer).__globals__[name])
    except (Exception, asyncio.CancelledError):
        raise Wrong(
            f"`{name}` of {task} is not right yet: mend it, then check this"
        ) from None


# --- what came back


def count(number: int, noun: str) -> str:
    """``1 request``, ``3 requests``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def expect(value: Any, kind: type[T], words: str) -> T:
    """Return ``value`` if it is a ``kind``; else raise Wrong with words."""
    if isinstance(value, kind):
        return value
    if value is None:
        raise Wrong(f"it returned None, not {words}: is a `return` missing?")
    if inspect.iscoroutine(value):
        value.close()
    found = name_of(value).replace("_", " ").strip()
    article = "an" if found[0] in "aeiouAEIOU" else "a"
    raise Wrong(f"it returned {article} {found}, not {words}")


def name_of(value: Any) -> str:
    """The type of a value; a text is a ``str``, whatever made it."""
    return "str" if isinstance(value, str) else type(value).__name__


def texts_of(value: Any) -> list[str]:
    """A list of texts, or Wrong."""
    texts = expect(value, list, "a list of texts")
    must_be_awaited(texts)
    for text in texts:
        if not isinstance(text, str):
            raise Wrong(f"the list holds {name_of(text)}, not texts")
    return texts


def must_be_awaited(values: Sequence[Any]) -> None:
    """Raise Wrong if a coroutine or a task is among them."""
    if any(map(inspect.isawaitable, values)):
        for coroutine in filter(inspect.iscoroutine, values):
            coroutine.close()  # or Python warns about each of them
        raise Wrong("the list holds calls that nobody awaited")


# --- threads, frames and lines


def in_thread(function: Callable[[], T]) -> tuple[threading.Thread, Future[T]]:
    """Start it in a daemon thread; it must not raise."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()
    context = contextvars.copy_context()
    thread = threading.Thread(
        target=lambda: future.set_result(context.run(function)),
        name="answer",
        daemon=True,
    )
    thread.start()
    return thread, future


def file_of(answer: object) -> str | None:
    """The file or cell that the answer was written in."""
    code = getattr(inspect.unwrap(answer), "__code__", None)
    return getattr(code, "co_filename", None)


def names_in(answer: Answer) -> set[str]:
    """The globals and attributes that an answer uses, and those within it."""
    names: set[str] = set()
    codes = [getattr(inspect.unwrap(answer), "__code__", None)]
    for code in codes:  # it grows meanwhile
        if inspect.iscode(code):
            names.update(code.co_names)
            codes.extend(code.co_consts)
    return names


def stack_of(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames of a thread, the innermost first."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def stack_of_task(task: asyncio.Task[Any]) -> list[FrameType]:
    """The frames of the coroutines that wait in it, the innermost first."""
    frames: list[FrameType] = []
    waiter: Any = task.get_coro()
    while frame := getattr(waiter, "cr_frame", None):
        frames.insert(0, frame)
        waiter = waiter.cr_await
    return frames


def line_on(stack: Iterable[FrameType], file: str | None) -> str | None:
    """The innermost line of ``file`` on a stack."""
    for frame in stack:
        if frame.f_code.co_filename == file:
            return line_at(file, frame.f_lineno)
    return None


def line_at(file: str, number: int) -> str:
    return linecache.getline(file, number).strip()
