"""Judge the check of lesson 16 and the two tasks of lab 16."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    ToolMessage,
)
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, Interrupt, interrupt

from workshop.checks.kit import (
    AWKWARD_TOKENS,
    PAUSE,
    Answer,
    ScriptedModel,
    Wrong,
    chat_graph,
    count,
    expect,
    result,
    start,
    stop,
)
from workshop.checks.threads import (
    all_of,
    ask,
    checkpoints,
    kept,
    memory,
    must_stream,
    on,
    saver_mistakes_named,
    texts,
)

# --- 16.0


async def lists_the_questions(answer: Answer) -> str:
    """16.0: return the values of the questions that a thread waits for."""

    async def window(state: MessagesState) -> None:
        interrupt({"place": "window"})

    async def people(state: MessagesState) -> None:
        interrupt("For how many?")

    builder = StateGraph(MessagesState)
    builder.add_node(window).add_node(people)
    builder.add_edge(START, "window").add_edge(START, "people")
    for _ in range(2):
        await _lists_the_questions(answer, builder)
    return "it lists 2 questions, 1 and 0, as many as the thread waits for"


async def _lists_the_questions(answer: Answer, builder: StateGraph) -> None:
    async with memory() as saver:
        graph = builder.compile(checkpointer=saver)
        for thread in "both", "one", "none":
            await graph.ainvoke(ask("A table"), on(thread))
        for thread, answered in ("one", 1), ("none", 2):
            asked = (await graph.aget_state(on(thread))).interrupts
            given = {one.id: "yes" for one in asked[:answered]}
            await graph.ainvoke(Command(resume=given), on(thread))
        await graph.ainvoke(
            ask("A table"), on("stopped"), interrupt_before=["window"]
        )
        for thread in "both", "one", "none", "new", "stopped", "both":
            state = await graph.aget_state(on(thread))
            right = [asked.value for asked in state.interrupts]
            with saver_mistakes_named():
                value = await result(answer, graph=graph, thread=thread)
            found = expect(value, list, "a list of values")
            if any(isinstance(one, Interrupt) for one in found):
                raise Wrong("the list holds the interrupts, not their `value`")
            if found != right:
                raise Wrong(
                    f"it returned {found} for a thread that waits for {right}"
                )


# --- 16.1

QUESTION = "At which table do you sit?"
SECOND = "For how many?"  # of the same run, twice


class Waiter:
    """Greets with the model, asks thrice, and serves with the model."""

    def __init__(self, answer: Answer, saver: Any) -> None:
        self.model = ScriptedModel.watching(answer)
        self.answers: list[Any] = []
        builder = StateGraph(MessagesState)
        builder.add_sequence([self.greet, self.note, self.seat])
        builder.add_sequence([self.guests, self.again, self.serve])
        builder.add_edge("seat", "guests")
        builder.add_edge(START, "greet")
        self.graph = builder.compile(checkpointer=saver)

    async def greet(self, state: MessagesState) -> dict[str, Any]:
        if not state["messages"]:
            raise Wrong(
                "a new thread waits for no answer: the text is its message"
            )
        return {"messages": await self.model.ainvoke(state["messages"])}

    async def note(self, state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage("A note that no model wrote")]}

    async def seat(self, state: MessagesState) -> dict[str, Any]:
        self.answers.append(interrupt(QUESTION))
        return {}

    async def guests(self, state: MessagesState) -> dict[str, Any]:
        self.answers.append(interrupt(SECOND))
        return {}

    async def again(self, state: MessagesState) -> dict[str, Any]:
        return await self.guests(state)

    async def serve(self, state: MessagesState) -> dict[str, Any]:
        text = f"For table {self.answers[-1]}"
        return {"messages": await self.model.ainvoke(text)}

    def reply(self) -> str:
        return "".join(map(str, self.model.calls[-1].parts))


async def asks_back(answer: Answer) -> str:
    """16.1: stream tokens and questions; a reply is the answer."""
    async with memory() as saver:
        waiter = Waiter(answer, saver)
        given = {"graph": waiter.graph, "thread": "x", "text": "Hello"}
        # "the tokens that the model writes, each as it comes"
        await must_stream(answer, waiter.model, "graph", **given)
        for thread in "1", "2":
            await _converses(answer, waiter, thread)
        await _answers_for_another(answer, waiter)
        await _is_not_misled(answer, waiter)
    async with memory() as saver:
        await _converses(answer, Waiter(answer, saver), "1")
    number = len(waiter.answers)
    return f"{number} questions came in the stream, and got their answers"


async def _chat(
    answer: Answer, waiter: Waiter, thread: str, text: str
) -> list[str]:
    words = "yield texts"
    given = {"graph": waiter.graph, "thread": thread, "text": text}
    pieces = await all_of(answer, words=words, **given)
    waiter.model.watch.must_not_block(": nothing else runs meanwhile")
    return pieces


async def _converses(answer: Answer, waiter: Waiter, thread: str) -> None:
    """A message, its three answers, and again: each by its own way."""
    waiter.model.script = lambda _: list(AWKWARD_TOKENS)
    for order, table in ("The soup", "4"), ("The cake", "0"):
        before = len(waiter.answers)
        pieces = await _chat(answer, waiter, thread, order)
        _must_end_with_the_question(pieces, waiter.reply())
        if len(waiter.answers) != before:
            raise Wrong(f"{order!r} was taken for an answer, and none was due")
        for text in table, "many":
            pieces = await _answers(answer, waiter, thread, text)
            if pieces != [SECOND]:
                raise Wrong(
                    "the answer led to another question, and it yielded "
                    f"{pieces}, not [{SECOND!r}]"
                )
        pieces = await _answers(answer, waiter, thread, "2")
        if "".join(pieces) != waiter.reply():
            raise Wrong(
                f"after the answer the model wrote {waiter.reply()!r}, and it "
                f"yielded {''.join(pieces)!r}"
            )
    messages = await kept(waiter.graph, thread)
    said = [m.text for m in messages if m.type == "human"]
    if said != ["The soup", "The cake"]:
        raise Wrong(
            f"the thread has the messages {said}: an answer is none of them"
        )


async def _answers(
    answer: Answer, waiter: Waiter, thread: str, text: str
) -> list[str]:
    before = len(waiter.answers)
    pieces = await _chat(answer, waiter, thread, text)
    if len(waiter.answers) == before:
        raise Wrong(
            f"the thread waits for an answer, and {text!r} did not reach "
            "it: the run did not go on"
        )
    if waiter.answers[-1] != text:
        raise Wrong(
            f"the node asked and got {waiter.answers[-1]!r}, not {text!r}"
        )
    return pieces


def _must_end_with_the_question(pieces: list[str], reply: str) -> None:
    if pieces.count(QUESTION) > 1:
        raise Wrong(f"it yielded the question {pieces.count(QUESTION)} times")
    if QUESTION not in pieces:
        raise Wrong(
            "the run stops at a question, and it is not among what was "
            f"yielded: {pieces}"
        )
    if any("A note" in piece for piece in pieces):
        raise Wrong(
            "it yielded a message that a node wrote, not the model: only "
            "`AIMessageChunk`"
        )
    said = "".join(pieces[: pieces.index(QUESTION)])
    if said != reply:
        raise Wrong(
            f"the model wrote {reply!r} before the question, and it yielded "
            f"{said!r}"
        )


async def _answers_for_another(answer: Answer, waiter: Waiter) -> None:
    """Another process asked, and another one took the answer."""
    await waiter.graph.ainvoke(ask("The tea"), on("other"))
    calls, answers = len(waiter.model.calls), len(waiter.answers)
    for text in "7", "many", "2":
        await _chat(answer, waiter, "other", text)
    if waiter.answers[answers:] != ["7", "many", "2"] or (
        len(waiter.model.calls) != calls + 1
    ):
        raise Wrong(
            "after a restart it did not take the text for the answer: only "
            "the thread knows that it waits"
        )
    for given in ask("The tea"), *[Command(resume=n) for n in "832"]:
        await waiter.graph.ainvoke(given, on("other"))
    answers = len(waiter.answers)
    await _chat(answer, waiter, "other", "The bill")
    said = [m.text for m in await kept(waiter.graph, "other")]
    if len(waiter.answers) != answers or "The bill" not in said:
        raise Wrong("it took a new message for an answer")


async def _is_not_misled(answer: Answer, waiter: Waiter) -> None:
    """A run that was cut off has a `next`, and waits for no answer."""
    waiter.model.script = lambda _: [PAUSE, "Never"]
    run = start(waiter.graph.ainvoke(ask("The fish"), on("cut")))
    await waiter.model.waits_for(1, run)
    await stop(run)
    waiter.model.script = lambda _: ["Good", " evening"]
    await _chat(answer, waiter, "cut", "The wine")
    if "The wine" not in await texts(waiter.graph, "cut"):
        raise Wrong(
            "a run that was cut off has a `next` and waits for no answer: "
            "the text is a new message"
        )


# --- 16.2


def _calls(*names: str) -> AIMessage:
    calls = [{"name": "order", "args": {}, "id": name} for name in names]
    return AIMessage("", tool_calls=calls, id=f"calls {' '.join(names)}")


def _result(name: str) -> ToolMessage:
    return ToolMessage(f"{name} ordered", tool_call_id=name, id=f"of {name}")


SOUND: list[BaseMessage] = [
    HumanMessage("Soup", id="1"),
    _calls("soup"),
    _result("soup"),
    AIMessage("Here it is", id="2"),
]
BROKEN: dict[str, list[BaseMessage]] = {
    "one of two": [
        HumanMessage("Soup and cake", id="1"),
        _calls("soup", "cake"),
        _result("soup"),
        HumanMessage("Hello?", id="2"),
        HumanMessage("Hello?", id="3"),
    ],
    "the first of three": [
        *SOUND,
        HumanMessage("More", id="3"),
        _calls("tea", "fish", "wine"),
        _result("fish"),
        _result("wine"),
    ],
    "two messages": [
        _calls("bread"),
        HumanMessage("Hello?", id="1"),
        _calls("rice", "salad"),
    ],
}


async def repairs(answer: Answer) -> str:
    """16.2: give each call of a tool that has no result one."""
    total = 0
    for threads in list(BROKEN), ["two messages"]:  # a graph for each
        async with memory() as saver:
            total += await _repairs(answer, saver, threads)
    return f"{total} calls got their result, and a sound thread is not touched"


async def _repairs(answer: Answer, saver: Any, threads: list[str]) -> int:
    graph = chat_graph(ScriptedModel(), saver)
    await graph.aupdate_state(on("sound"), {"messages": SOUND})
    for thread in threads:
        await graph.aupdate_state(on(thread), {"messages": BROKEN[thread]})
    added = 0
    for thread in threads:
        added += await _repaired(answer, graph, thread)
    for thread in "sound", "new", "two messages":
        await _untouched(answer, graph, thread)
    return added


async def _repaired(
    answer: Answer, graph: CompiledStateGraph, thread: str
) -> int:
    before = BROKEN[thread]
    value = await _ask_to_repair(answer, graph, thread)
    after = await kept(graph, thread)
    if [m for m in after if m in before] != before:
        raise Wrong(
            "the messages that were there are not as they were: all stay, "
            "in their order"
        )
    missing = _without_result(after)
    if missing:
        raise Wrong(
            f"still without a result: {', '.join(missing)}, of "
            f"{_names(before)}"
        )
    added = [message for message in after if message not in before]
    if len(added) != len(_without_result(before)):
        raise Wrong(
            f"it added {count(len(added), 'message')}, and "
            f"{count(len(_without_result(before)), 'result')} was missing"
        )
    _must_follow_its_call(after)
    for message in added:
        if message.text != "cancelled":
            raise Wrong(f"a new result says {message.text!r}, not 'cancelled'")
    if value != len(added):
        raise Wrong(f"it returned {value}, and it added {len(added)}")
    return len(added)


async def _untouched(
    answer: Answer, graph: CompiledStateGraph, thread: str
) -> None:
    before = await checkpoints(graph, thread)
    value = await _ask_to_repair(answer, graph, thread)
    if await checkpoints(graph, thread) != before:
        raise Wrong("a thread that lacks no result got a new checkpoint")
    if value != 0:
        raise Wrong(f"it returned {value} for a thread that lacks no result")


async def _ask_to_repair(
    answer: Answer, graph: CompiledStateGraph, thread: str
) -> int:
    with saver_mistakes_named():
        value = await result(answer, graph=graph, thread=thread)
    return expect(value, int, "the number of results")


def _names(messages: list[BaseMessage]) -> list[str]:
    return [c["id"] for m in messages for c in getattr(m, "tool_calls", [])]


def _without_result(messages: list[BaseMessage]) -> list[str]:
    done = {m.tool_call_id for m in messages if isinstance(m, ToolMessage)}
    return [name for name in _names(messages) if name not in done]


def _must_follow_its_call(messages: list[BaseMessage]) -> None:
    due: set[str] = set()
    for message in messages:
        if isinstance(message, ToolMessage):
            if message.tool_call_id not in due:
                raise Wrong(
                    "a result does not stand behind its call: OpenAI refuses "
                    "that, too"
                )
            due.discard(message.tool_call_id)
        elif due:
            raise Wrong(
                "a message stands between a call and its result: OpenAI "
                "refuses that, too"
            )
        due |= {call["id"] for call in getattr(message, "tool_calls", [])}


JUDGES = {
    "16.0": lists_the_questions,
    "16.1": asks_back,
    "16.2": repairs,
}
