"""Wrong answers to the check of lesson 03 and to lab 03."""

import asyncio
from dataclasses import dataclass

from langchain_core.messages import AIMessageChunk

from tests.wrong import wrong

EMPTY = "the list is empty: an unknown stream mode yields nothing"
TWICE = "each node is named twice: `tasks` tells of its start and of its end"
NO_SYNC = 'it raised TypeError: No synchronous function provided to "{}"., '


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


@wrong("03.0", EMPTY)
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


@wrong("03.0", "`cook` ran twice and is named once")
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
    NO_SYNC.format("cook")
    + "at `return [node for chunk in stream for node in chunk]`",
)
async def uses_the_sync_twin(graph, order):
    stream = graph.stream(order, stream_mode="updates")
    return [node for chunk in stream for node in chunk]


@wrong(
    "03.0",
    "it returned None, not a list of names of nodes: is a `return` missing?",
)
async def prints_the_names(graph, order):
    async for chunk in graph.astream(order):
        print(*chunk)


# --- 03.1


@wrong(
    "03.1",
    "the bar stood still while the cake baked: `bar.value` was set only "
    "afterwards",
)
async def collects_first(graph, order, bar):
    modes = ["custom", "values"]
    chunks = [c async for c in graph.astream(order, stream_mode=modes)]
    for mode, chunk in chunks:
        if mode == "custom" and "percent" in chunk:
            bar.value = chunk["percent"]
    return chunks[-1][1]["messages"][-1].text


@wrong("03.1", "the graph ran 2 times: one run can stream two modes")
async def bakes_a_second_cake(graph, order, bar):
    async for chunk in graph.astream(order, stream_mode="custom"):
        if isinstance(chunk, dict):
            bar.value = chunk["percent"]
    state = await graph.ainvoke(order)
    return state["messages"][-1].text


@wrong(
    "03.1",
    "it raised TypeError: string indices must be integers, not 'str', at "
    '`bar.value = chunk["percent"]`',
)
async def takes_every_chunk_for_progress(graph, order, bar):
    modes = ["custom", "values"]
    async for mode, chunk in graph.astream(order, stream_mode=modes):
        if mode == "custom":
            bar.value = chunk["percent"]
        else:
            state = chunk
    return state["messages"][-1].text


@wrong("03.1", "`bar.value` was never set")
async def moves_a_name(graph, order, bar):
    modes = ["custom", "values"]
    async for mode, chunk in graph.astream(order, stream_mode=modes):
        if mode == "values":
            state = chunk
        elif isinstance(chunk, dict):
            bar = chunk["percent"]
    return state["messages"][-1].text or bar


@wrong("03.1", "`bar.value` was never set")
async def forgets_the_mode_in_the_pair(graph, order, bar):
    modes = ["custom", "values"]
    async for chunk in graph.astream(order, stream_mode=modes):
        if isinstance(chunk, dict):
            bar.value = chunk["percent"]
    return chunk[1]["messages"][-1].text


@wrong(
    "03.1",
    "the bar got 'Welcome!': other nodes write to `custom` as well",
)
async def shows_whatever_comes(graph, order, bar):
    modes = ["custom", "values"]
    async for mode, chunk in graph.astream(order, stream_mode=modes):
        if mode == "values":
            state = chunk
        else:
            text = isinstance(chunk, str)
            bar.value = chunk if text else chunk["percent"]
    return state["messages"][-1].text


@wrong(
    "03.1",
    "it returned None, not the text of the reply: is a `return` missing?",
)
async def only_moves_the_bar(graph, order, bar):
    async for chunk in graph.astream(order, stream_mode="custom"):
        if isinstance(chunk, dict):
            bar.value = chunk["percent"]


@wrong(
    "03.1",
    "the bar showed [25, 75, 150, 250], the oven said [25, 50, 75, 100]",
)
async def adds_up(graph, order, bar):
    async for chunk in graph.astream(order, stream_mode="custom"):
        if isinstance(chunk, dict):
            bar.value += chunk["percent"]


# --- 03.2


@wrong("03.2", "the graph ran 3 times: one run can stream three modes")
async def runs_once_per_mode(graph, order):
    async for chunk, _ in graph.astream(order, stream_mode="messages"):
        if isinstance(chunk, AIMessageChunk) and chunk.text:
            yield Token(chunk.text)
    async for chunk in graph.astream(order, stream_mode="custom"):
        if isinstance(chunk, dict):
            yield Progress(chunk["percent"])
    async for chunk in graph.astream(order, stream_mode="updates"):
        for node in chunk:
            yield Step(node)


@wrong("03.2", "the graph ran 3 times: one run can stream three modes")
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
        if mode == "updates":
            for node in chunk:
                yield Step(node)
        elif mode == "custom" and isinstance(chunk, dict):
            yield Progress(chunk["percent"])
        elif mode == "messages" and chunk[0].text:
            yield Token(chunk[0].text)


def typed(mode, chunk):
    """The right events of a chunk."""
    if mode == "updates":
        return [Step(node) for node in chunk]
    if mode == "custom":
        return [Progress(chunk["percent"])] if "percent" in chunk else []
    message = chunk[0]
    right = isinstance(message, AIMessageChunk) and message.text
    return [Token(message.text)] if right else []


MODES = ["messages", "custom", "updates"]


@wrong(
    "03.2",
    "the first Progress came when the cake was ready: collecting is not "
    "streaming",
)
async def collects_then_yields(graph, order):
    stream = graph.astream(order, stream_mode=MODES)
    for mode, chunk in [pair async for pair in stream]:
        for event in typed(mode, chunk):
            yield event


@wrong(
    "03.2",
    "`The cake is ready.` is the result of a tool, not a token of the model",
)
async def takes_every_message(graph, order):
    async for mode, chunk in graph.astream(order, stream_mode=MODES):
        if mode == "messages" and chunk[0].text:
            yield Token(chunk[0].text)
        elif mode != "messages":
            for event in typed(mode, chunk):
                yield event


@wrong("03.2", "a Token is empty: keep the pieces that have text")
async def keeps_empty_pieces(graph, order):
    async for mode, chunk in graph.astream(order, stream_mode=MODES):
        if mode == "messages" and isinstance(chunk[0], AIMessageChunk):
            yield Token(chunk[0].text)
        elif mode != "messages":
            for event in typed(mode, chunk):
                yield event


@wrong("03.2", "it yielded tuple, not Token, Progress or Step")
async def yields_what_comes(graph, order):
    async for pair in graph.astream(order, stream_mode=MODES):
        yield pair


@wrong("03.2", "`Step.node` is dict, not str")
async def puts_the_chunk_into_the_step(graph, order):
    async for mode, chunk in graph.astream(order, stream_mode=MODES):
        if mode == "updates":
            yield Step(chunk)
        else:
            for event in typed(mode, chunk):
                yield event


@wrong("03.2", "no Step came")
async def misspells_a_mode(graph, order):
    modes = ["messages", "custom", "update"]
    async for mode, chunk in graph.astream(order, stream_mode=modes):
        for event in typed(mode, chunk):
            yield event


@wrong(
    "03.2",
    "it returned a coroutine, not an async generator: `yield` each event",
)
async def returns_a_list(graph, order):
    stream = graph.astream(order, stream_mode=MODES)
    return [e async for pair in stream for e in typed(*pair)]


# --- 03.3


@wrong("03.3", "the nodes inside `kitchen` are missing")
async def stays_outside(graph, order):
    stream = graph.astream(order, stream_mode="updates", version="v2")
    return [node async for part in stream for node in part["data"]]


@wrong("03.3", "`cook` ran inside `kitchen`: its path is missing")
async def throws_the_namespace_away(graph, order):
    stream = graph.astream(order, stream_mode="updates", subgraphs=True)
    return [node async for _, chunk in stream for node in chunk]


@wrong("03.3", "a path holds a generated id: keep what stands before the `:`")
async def keeps_the_ids(graph, order):
    stream = graph.astream(order, subgraphs=True, version="v2")
    return [
        "/".join([*part["ns"], node])
        async for part in stream
        for node in part["data"]
    ]


@wrong(
    "03.3",
    "it raised IndexError: tuple index out of range, at "
    '`outer = part["ns"][0].split(":")[0]`',
)
async def expects_one_level(graph, order):
    paths = []
    async for part in graph.astream(order, subgraphs=True, version="v2"):
        outer = part["ns"][0].split(":")[0]
        paths += [f"{outer}/{node}" for node in part["data"]]
    return paths


@wrong(
    "03.3",
    "where `floor/kitchen/cook` belongs it says `kitchen/cook`",
)
async def looks_at_the_last_level(graph, order):
    paths = []
    async for part in graph.astream(order, subgraphs=True, version="v2"):
        outer = [name.split(":")[0] for name in part["ns"][-1:]]
        paths += ["/".join([*outer, node]) for node in part["data"]]
    return paths


@wrong("03.3", TWICE)
async def reads_starts_and_ends(graph, order):
    view = {"stream_mode": "tasks", "subgraphs": True, "version": "v2"}
    paths = []
    async for part in graph.astream(order, **view):
        outer = [name.split(":")[0] for name in part["ns"]]
        paths.append("/".join([*outer, part["data"]["name"]]))
    return paths


@wrong(
    "03.3",
    "it raised TypeError: tuple indices must be integers or slices, not str, "
    'at `outer = [name.split(":")[0] for name in part["ns"]]`',
)
async def forgets_the_version(graph, order):
    paths = []
    async for part in graph.astream(order, subgraphs=True):
        outer = [name.split(":")[0] for name in part["ns"]]
        paths += ["/".join([*outer, node]) for node in part["data"]]
    return paths


# --- 03.4


@wrong(
    "03.4",
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
    except ValueError:
        pass
    return tasks


def outcome_of(task):
    if "input" in task:
        return "cut off"
    return f"failed: {task['error']}" if task["error"] else "done"


@wrong(
    "03.4",
    "only tasks that ended well are there: `updates` tells of no others",
)
async def reads_the_updates(graph, order):
    report = []
    try:
        async for chunk in graph.astream(order, stream_mode="updates"):
            report += [(node, "done") for node in chunk]
    except ValueError:
        pass
    return report


@wrong(
    "03.4",
    "three tasks were named `cook` and one is left: tell them apart by `id`",
)
async def pairs_by_name(graph, order):
    report = {}
    for task in await tasks_of(graph, order):
        report[task["name"]] = outcome_of(task)
    return list(report.items())


@wrong(
    "03.4",
    "7 entries for 4 tasks: the start and the end of a task share one `id`",
)
async def lists_every_chunk(graph, order):
    tasks = await tasks_of(graph, order)
    return [(task["name"], outcome_of(task)) for task in tasks]


@wrong("03.4", "the task that failed is reported as done: see `error`")
async def never_looks_at_the_error(graph, order):
    report = {}
    for task in await tasks_of(graph, order):
        outcome = "cut off" if "input" in task else "done"
        report[task["id"]] = task["name"], outcome
    return list(report.values())


@wrong(
    "03.4",
    "the task that never ended is missing or not called `cut off`",
)
async def waits_for_the_end(graph, order):
    return [
        (task["name"], outcome_of(task))
        for task in await tasks_of(graph, order)
        if "input" not in task
    ]


@wrong("03.4", "it returned None, not a list of pairs: is a `return` missing?")
async def returns_only_on_success(graph, order):
    tasks = {}
    try:
        async for task in graph.astream(order, stream_mode="tasks"):
            tasks[task["id"]] = task["name"], outcome_of(task)
        return list(tasks.values())
    except ValueError as error:
        print(error)


@wrong("03.4", "the list holds str, not (name, outcome)")
async def writes_lines(graph, order):
    report = {}
    for task in await tasks_of(graph, order):
        report[task["id"]] = f"{task['name']}: {outcome_of(task)}"
    return list(report.values())
