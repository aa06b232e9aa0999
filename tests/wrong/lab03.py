"""Wrong answers, and right ones, to lesson 03 and lab 03."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from langchain_core.messages import AIMessageChunk

from tests.wrong import right, wrong

EMPTY = "the list is empty: an unknown stream mode yields nothing"
TWICE = "each node is named twice: `tasks` tells of its start and of its end"


@dataclass
class Token:
    text: str


@dataclass
class Progress:
    percent: int


@dataclass
class Step:
    node: str


# --- 03.0


@wrong(
    "03.0",
    "the list is empty: this mode has nothing to say about nodes, or its "
    "name is misspelled",
)
async def forgets_the_s(graph, order):
    stream = graph.astream(order, stream_mode="update")
    return [node async for chunk in stream for node in chunk]


@wrong(
    "03.0",
    "`dishes` is a key of the state, not a node: `values` yields the state",
)
async def reads_the_values(graph, order):
    stream = graph.astream(order, stream_mode="values")
    return [node async for chunk in stream for node in chunk]


@wrong("03.0", TWICE)
async def reads_the_tasks(graph, order):
    stream = graph.astream(order, stream_mode="tasks")
    return [task["name"] async for task in stream]


@wrong("03.0", "the list holds dict, not names of nodes")
async def keeps_the_updates(graph, order):
    return [chunk async for chunk in graph.astream(order)]


@wrong(
    "03.0",
    "`taste` ran three times and is named once",
)
async def collects_in_a_dict(graph, order):
    nodes = {}
    async for chunk in graph.astream(order, stream_mode="updates"):
        nodes.update(chunk)
    return list(nodes)


@wrong("03.0", "the graph never ran")
async def asks_the_graph_for_its_nodes(graph, order):
    return list(graph.nodes)


@wrong(
    "03.0",
    "it returned None, not a list of names of nodes: is a `return` missing?",
)
async def prints_the_names(graph, order):
    async for chunk in graph.astream(order):
        print(*chunk)


# --- 03.1


@wrong("03.1", "the graph ran 3 times: one run can stream three modes")
async def runs_once_per_mode(graph, order):
    async for chunk, _ in graph.astream(order, stream_mode="messages"):
        if isinstance(chunk, AIMessageChunk) and chunk.text:
            yield Token(chunk.text)
    async for chunk in graph.astream(order, stream_mode="custom"):
        if isinstance(chunk, dict) and "percent" in chunk:
            yield Progress(chunk["percent"])
    async for chunk in graph.astream(order, stream_mode="updates"):
        for node in chunk:
            yield Step(node)


@wrong("03.1", "the graph ran 3 times: one run can stream three modes")
async def runs_them_together(graph, order):
    queue = asyncio.Queue()

    async def read(mode):
        async for chunk in graph.astream(order, stream_mode=mode):
            await queue.put((mode, chunk))
        await queue.put((None, None))

    reading = [
        asyncio.create_task(read(mode))
        for mode in ("messages", "custom", "updates")
    ]
    while any(not task.done() for task in reading) or not queue.empty():
        mode, chunk = await queue.get()
        if mode:
            for event in typed(mode, chunk):
                yield event


def typed(mode, chunk):
    """The right events of a chunk."""
    if mode == "updates":
        return [Step(node) for node in chunk]
    if mode == "custom":
        percent = isinstance(chunk, dict) and "percent" in chunk
        return [Progress(chunk["percent"])] if percent else []
    message = chunk[0]
    token = isinstance(message, AIMessageChunk) and message.text
    return [Token(message.text)] if token else []


MODES = ["messages", "custom", "updates"]


@wrong(
    "03.1",
    "the first Step came late: collecting is not streaming",
)
async def collects_then_yields(graph, order):
    stream = graph.astream(order, stream_mode=MODES)
    for mode, chunk in [pair async for pair in stream]:
        for event in typed(mode, chunk):
            yield event


@wrong(
    "03.1",
    "`The cake is ready.` is the result of a tool, not a token of the model",
)
async def takes_every_message(graph, order):
    async for mode, chunk in graph.astream(order, stream_mode=MODES):
        if mode == "messages" and chunk[0].text:
            yield Token(chunk[0].text)
        elif mode != "messages":
            for event in typed(mode, chunk):
                yield event


@wrong("03.1", "a Token is empty: keep the pieces that have text")
async def keeps_empty_pieces(graph, order):
    async for mode, chunk in graph.astream(order, stream_mode=MODES):
        if mode == "messages" and isinstance(chunk[0], AIMessageChunk):
            yield Token(chunk[0].text)
        elif mode != "messages":
            for event in typed(mode, chunk):
                yield event


@wrong("03.1", "it yielded tuple, not Token, Progress or Step")
async def yields_what_comes(graph, order):
    async for pair in graph.astream(order, stream_mode=MODES):
        yield pair


@wrong("03.1", "`Step.node` is dict, not str")
async def puts_the_chunk_into_the_step(graph, order):
    async for mode, chunk in graph.astream(order, stream_mode=MODES):
        if mode == "updates":
            yield Step(chunk)
        else:
            for event in typed(mode, chunk):
                yield event


@wrong("03.1", "no Step came")
async def misspells_a_mode(graph, order):
    modes = ["messages", "custom", "update"]
    async for mode, chunk in graph.astream(order, stream_mode=modes):
        for event in typed(mode, chunk):
            yield event


@wrong(
    "03.1",
    "it returned a coroutine, not an async generator: `yield` each event",
)
async def returns_a_list(graph, order):
    stream = graph.astream(order, stream_mode=MODES)
    return [e async for pair in stream for e in typed(*pair)]


# --- 03.2


@wrong(
    "03.2",
    "the ValueError of the node came through, and the report is lost",
)
async def lets_the_error_through(graph, order):
    tasks = {}
    async for task in graph.astream(order, stream_mode="tasks"):
        outcome = "cut off" if "input" in task else "done"
        tasks[task["id"]] = task["name"], outcome
    return list(tasks.values())


async def tasks_of(graph, order):
    """All chunks of `tasks`, up to the error."""
    tasks = []
    try:
        async for task in graph.astream(order, stream_mode="tasks"):
            tasks.append(task)
    except Exception:
        pass
    return tasks


def outcome_of(task):
    if "input" in task:
        return "cut off"
    return f"failed: {task['error']}" if task["error"] else "done"


@wrong(
    "03.2",
    "only tasks that ended well are there: `updates` tells of no others",
)
async def reads_the_updates(graph, order):
    report = []
    try:
        async for chunk in graph.astream(order, stream_mode="updates"):
            report += [(node, "done") for node in chunk]
    except Exception:
        pass
    return report


@wrong(
    "03.2",
    "four tasks were named `cook` and one is left: tell them apart by `id`",
)
async def pairs_by_name(graph, order):
    report = {}
    for task in await tasks_of(graph, order):
        report[task["name"]] = outcome_of(task)
    return list(report.items())


@wrong(
    "03.2",
    "9 entries for 5 tasks: the start and the end of a task share one `id`",
)
async def lists_every_chunk(graph, order):
    tasks = await tasks_of(graph, order)
    return [(task["name"], outcome_of(task)) for task in tasks]


@wrong("03.2", "the task that failed is reported as done: see `error`")
async def never_looks_at_the_error(graph, order):
    report = {}
    for task in await tasks_of(graph, order):
        outcome = "cut off" if "input" in task else "done"
        report[task["id"]] = task["name"], outcome
    return list(report.values())


@wrong(
    "03.2",
    "the task that never ended is missing or not called `cut off`",
)
async def waits_for_the_end(graph, order):
    return [
        (task["name"], outcome_of(task))
        for task in await tasks_of(graph, order)
        if "input" not in task
    ]


@wrong("03.2", "it returned None, not a list of pairs: is a `return` missing?")
async def returns_only_on_success(graph, order):
    tasks = {}
    try:
        async for task in graph.astream(order, stream_mode="tasks"):
            tasks[task["id"]] = task["name"], outcome_of(task)
        return list(tasks.values())
    except ValueError as error:
        print(error)


@wrong("03.2", "the list holds str, not (name, outcome)")
async def writes_lines(graph, order):
    report = {}
    for task in await tasks_of(graph, order):
        report[task["id"]] = f"{task['name']}: {outcome_of(task)}"
    return list(report.values())


@wrong(
    "03.0",
    "the list is empty: this mode has nothing to say about nodes, or its "
    "name is misspelled",
)
async def asks_where_messages_come_from(graph, order):
    names = []
    async for _, about in graph.astream(order, stream_mode="messages"):
        names.append(about["langgraph_node"])
    return names


@wrong(
    "03.0",
    "`dry` started before `wash` and finished after it: the order is not "
    "that of the ends",
)
async def names_the_starts(graph, order):
    names = []
    async for task in graph.astream(order, stream_mode="tasks"):
        if "input" in task:
            names.append(task["name"])
    return names


@wrong(
    "03.1",
    "where `Progress 0` belongs came `Progress 25`",
)
async def drops_the_zero(graph, order):
    async for mode, chunk in graph.astream(order, stream_mode=MODES):
        if mode == "custom":
            if isinstance(chunk, dict) and chunk.get("percent"):
                yield Progress(chunk["percent"])
        else:
            for event in typed(mode, chunk):
                yield event


@wrong(
    "03.1",
    "where `Token '\\n\\n'` belongs came `Token '0'`",
)
async def strips_the_tokens(graph, order):
    async for mode, chunk in graph.astream(order, stream_mode=MODES):
        for event in typed(mode, chunk):
            if isinstance(event, Token):
                event.text = event.text.strip()
            if event != Token(""):
                yield event


@right("03.1")
async def reads_parts(graph, order):
    async for part in graph.astream(order, stream_mode=MODES, version="v2"):
        for event in typed(part["type"], part["data"]):
            yield event


@right("03.1")
class OneByOne:
    """An async iterator that is no generator."""

    def __init__(self, graph, order):
        self.stream = graph.astream(order, stream_mode=MODES)
        self.ready = []

    def __aiter__(self):
        return self

    async def __anext__(self):
        while not self.ready:
            self.ready = typed(*await anext(self.stream))
        return self.ready.pop(0)


@wrong(
    "03.2",
    "it swallowed a cancel from outside: catch `Exception`, not more",
)
async def catches_every_end(graph, order):
    report = {}
    with suppress(BaseException):
        async for task in graph.astream(order, stream_mode="tasks"):
            report[task["id"]] = task["name"], outcome_of(task)
    return list(report.values())


@wrong(
    "03.2",
    "the tasks are not in the order in which they started",
)
async def puts_what_was_cut_off_last(graph, order):
    report = {}
    for task in await tasks_of(graph, order):
        report.pop(task["id"], None)
        report[task["id"]] = task["name"], outcome_of(task)
    return list(report.values())


@right("03.2")
async def reads_the_debug_chunks(graph, order):
    report = {}
    with suppress(Exception):
        async for part in graph.astream(
            order, stream_mode="debug", version="v2"
        ):
            task = part["data"]["payload"]
            if part["data"]["type"].startswith("task"):
                report[task["id"]] = (task["name"], outcome_of(task))
    return list(report.values())
