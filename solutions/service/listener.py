"""What a reader sees of a graph: the words that become its answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.exceptions import ModelConnectionError
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.utils import convert_to_messages
from langgraph.graph import END
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command

# How models of several providers say that they did not end by themselves.
REASONS = {
    **dict.fromkeys(("length", "max_tokens", "model_length"), "length"),
    **dict.fromkeys(
        ("content_filter", "safety", "recitation", "prohibited_content"),
        "filtered",
    ),
    "refusal": "refused",
}


# How nodes of middleware are called: `Guard.before_agent`.
HOOKS = (".before_agent", ".before_model", ".after_model", ".after_agent")


class BrokenOff(ModelConnectionError):
    """The stream ended, and the model has not said that it was done."""


def visible(message: BaseMessage) -> str:
    """What a reader sees of a message: its text, or its refusal."""
    return str(message.text) or message.additional_kwargs.get("refusal") or ""


def answering_nodes(agent: CompiledStateGraph) -> set[str]:
    """The nodes that can be the last one, hooks of middleware aside.

    One that leads to another of them and is never come back to is a guard:
    its model's words are no answer, and if it answers, that is shown whole.
    One that no edge leads from is reached by a `Command`: it may be the last.
    """
    follow: dict[str, set[str]] = {}
    for edge in agent.get_graph().edges:
        follow.setdefault(edge.source, set()).add(edge.target)

    def beyond(node: str, hooks: bool = False) -> set[str]:
        """All that can come after it; or only what hooks lead to."""
        found: set[str] = set()
        ahead = set(follow.get(node, ()))
        while ahead:
            name = ahead.pop()
            if name not in found:
                found.add(name)
                if not hooks or name.endswith(HOOKS):
                    ahead |= follow.get(name, set())
        return found

    last = {
        node
        for node in follow
        if not node.endswith(HOOKS) and END in beyond(node, hooks=True)
    }
    unseen = agent.builder.nodes.keys() - follow.keys()
    return unseen | {
        node
        for node in last
        if all(node in beyond(other) for other in last & beyond(node))
    }


class Listener(BaseCallbackHandler):
    """Hears what models write, in the task that reads it.

    `astream` with "messages" gives the same chunks for more work: it takes
    each through a queue and two tasks. Words that are streamed are a guess
    at what the node returns; when it does, `settle` says what was right.
    """

    run_inline = True
    raise_error = True

    def __init__(
        self, ears: Any, answering: set[str], known: Iterable[BaseMessage]
    ) -> None:
        """`ears`, a run, are told: its methods say what of."""
        self.ears = ears
        self.answering = answering
        self.seen = {message.id for message in known}
        self.calls: dict[UUID, str] = {}  # that are heard: their node
        self.silent: set[UUID] = set()
        self.tools: dict[UUID, str] = {}  # that are running: where
        self.nodes: dict[UUID, str] = {}

    # LangChain lets each model stream to a handler that has these two.

    def tap_output_aiter(self, run_id: UUID, output: Any) -> Any:
        return output

    def tap_output_iter(self, run_id: UUID, output: Any) -> Any:
        return output

    def on_chat_model_start(
        self,
        serialized: Any,
        messages: Any,
        *,
        run_id: UUID,
        **more: Any,
    ) -> None:
        space = (more.get("metadata") or {}).get("langgraph_checkpoint_ns", "")
        path = [part.partition(":")[0] for part in space.split("|")]
        if "nostream" in (more.get("tags") or []):
            self.silent.add(run_id)
        elif (
            path[0] in self.answering
            and not any(name.endswith(HOOKS) for name in path)
            and not any(space.startswith(at) for at in self.tools.values())
            and "ls_structured_output_format"
            not in (more.get("options") or {})
        ):
            self.calls[run_id] = space.partition("|")[0]

    def on_llm_new_token(
        self, token: Any, *, chunk: Any = None, run_id: UUID, **more: Any
    ) -> None:
        node = self.calls.get(run_id)
        if node is None or chunk is None:
            return
        message = chunk.message
        if message.additional_kwargs or not isinstance(message.content, str):
            blocks = message.content_blocks
            if "reasoning_content" in message.additional_kwargs or any(
                block["type"] == "reasoning" for block in blocks
            ):
                self.ears.think()
        for call in message.tool_call_chunks:
            if call["name"]:
                self.ears.use(call["id"] or "", call["name"])
        if text := message.content:
            if not isinstance(text, str):
                text = str(message.text)
        else:
            text = message.additional_kwargs.get("refusal")
        if text:
            self.ears.say(node, run_id, text)

    def on_llm_end(self, response: Any, *, run_id: UUID, **more: Any) -> None:
        message = response.generations[0][0].message
        if run_id in self.silent:
            self.seen.add(message.id)
        if self.calls.pop(run_id, None) is None:
            return
        self.ears.hush(run_id)
        facts = message.response_metadata
        reason = facts.get("finish_reason") or facts.get("stop_reason")
        if reason is None and facts.get("model_provider") == "openai":
            raise BrokenOff("the model broke off")
        outcome = REASONS.get(str(reason).lower(), "complete")
        if message.additional_kwargs.get("refusal"):
            outcome = "refused"
        self.ears.ended(outcome)

    def on_llm_error(
        self, error: BaseException, *, run_id: UUID, **more: Any
    ) -> None:
        self.calls.pop(run_id, None)
        self.ears.hush(run_id)

    def on_tool_start(
        self, serialized: Any, given: str, *, run_id: UUID, **more: Any
    ) -> None:
        at = (more.get("metadata") or {}).get("langgraph_checkpoint_ns")
        if at:
            self.tools[run_id] = at

    def on_tool_end(self, output: Any, *, run_id: UUID, **more: Any) -> None:
        self.tools.pop(run_id, None)

    on_tool_error = on_tool_end

    def on_chain_start(
        self, serialized: Any, inputs: Any, *, run_id: UUID, **more: Any
    ) -> None:
        at = more.get("metadata") or {}
        space = at.get("langgraph_checkpoint_ns", "|")
        tags = more.get("tags") or []
        step = any(tag.startswith("graph:step:") for tag in tags)
        if step and "|" not in space:  # a node of the graph itself
            self.nodes[run_id] = space

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **more: Any) -> None:
        node = self.nodes.pop(run_id, None)
        if node is None:
            return
        said = []
        for message in messages_in(outputs):
            if isinstance(message, AIMessage) and message.id not in self.seen:
                for call in message.tool_calls:
                    self.ears.use(call["id"] or "", call["name"])
                said.append(visible(message))
                if message.id:
                    self.seen.add(message.id)
        self.ears.settle(node, "".join(said))

    def on_chain_error(
        self, error: BaseException, *, run_id: UUID, **more: Any
    ) -> None:
        self.nodes.pop(run_id, None)


def messages_in(outputs: Any) -> Iterator[BaseMessage]:
    """The messages of what a node returned."""
    if isinstance(outputs, list | tuple):
        for each in outputs:
            yield from messages_in(each)
        return
    if isinstance(outputs, Command):
        outputs = outputs.update
    if isinstance(outputs, dict):
        found = outputs.get("messages")
    else:
        found = getattr(outputs, "messages", None)
    if found:
        many = found if isinstance(found, list) else [found]
        try:
            yield from convert_to_messages(many)
        except (NotImplementedError, ValueError):
            return  # a graph with messages of its own
