"""Wrong answers, and right ones, to lesson 04 and lab 04."""

from langchain_core.callbacks import get_usage_metadata_callback

from tests.wrong import right, wrong

TWICE = "each node is named twice: `tasks` tells of its start and of its end"


# --- 04.1


@wrong(
    "04.1",
    "the bar stood still while the cake baked: `bar.value` was set only "
    "afterwards",
)
async def collects_first(graph, order, bar):
    modes = ["custom", "values"]
    chunks = [c async for c in graph.astream(order, stream_mode=modes)]
    for mode, chunk in chunks:
        if mode == "custom" and isinstance(chunk, dict):
            if "percent" not in chunk:
                continue
            bar.value = chunk["percent"]
    return chunks[-1][1]["messages"][-1].text


@wrong("04.1", "the graph ran 2 times: one run can stream two modes")
async def bakes_a_second_cake(graph, order, bar):
    async for chunk in graph.astream(order, stream_mode="custom"):
        if isinstance(chunk, dict) and "percent" in chunk:
            bar.value = chunk["percent"]
    state = await graph.ainvoke(order)
    return state["messages"][-1].text


@wrong(
    "04.1",
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


@wrong("04.1", "`bar.value` was never set")
async def moves_a_name(graph, order, bar):
    modes = ["custom", "values"]
    async for mode, chunk in graph.astream(order, stream_mode=modes):
        if mode == "values":
            state = chunk
        elif isinstance(chunk, dict) and "percent" in chunk:
            bar = chunk["percent"]
    return state["messages"][-1].text or bar


@wrong("04.1", "`bar.value` was never set")
async def forgets_the_mode_in_the_pair(graph, order, bar):
    modes = ["custom", "values"]
    async for chunk in graph.astream(order, stream_mode=modes):
        if isinstance(chunk, dict) and "percent" in chunk:
            bar.value = chunk["percent"]
    return chunk[1]["messages"][-1].text


@wrong(
    "04.1",
    "the bar got 'Welcome!': other nodes write to `custom` as well",
)
async def shows_whatever_comes(graph, order, bar):
    modes = ["custom", "values"]
    async for mode, chunk in graph.astream(order, stream_mode=modes):
        if mode == "values":
            state = chunk
        else:
            text = isinstance(chunk, str)
            bar.value = chunk if text else chunk.get("percent")
    return state["messages"][-1].text


@wrong(
    "04.1",
    "it returned None, not the text of the reply: is a `return` missing?",
)
async def only_moves_the_bar(graph, order, bar):
    async for chunk in graph.astream(order, stream_mode="custom"):
        if isinstance(chunk, dict) and "percent" in chunk:
            bar.value = chunk["percent"]


@wrong(
    "04.1",
    "the bar showed [0, 25, 50, 150], the oven said [0, 25, 25, 100]",
)
async def adds_up(graph, order, bar):
    async for chunk in graph.astream(order, stream_mode="custom"):
        if isinstance(chunk, dict) and "percent" in chunk:
            bar.value = (bar.value or 0) + chunk["percent"]


# --- 04.2


@wrong("04.2", "the nodes inside `kitchen` are missing")
async def stays_outside(graph, order):
    stream = graph.astream(order, stream_mode="updates", version="v2")
    return [node async for part in stream for node in part["data"]]


@wrong("04.2", "`cook` ran inside `kitchen`: its path is missing")
async def throws_the_namespace_away(graph, order):
    stream = graph.astream(order, stream_mode="updates", subgraphs=True)
    return [node async for _, chunk in stream for node in chunk]


@wrong("04.2", "a path holds a generated id: keep what stands before the `:`")
async def keeps_the_ids(graph, order):
    stream = graph.astream(order, subgraphs=True, version="v2")
    return [
        "/".join([*part["ns"], node])
        async for part in stream
        for node in part["data"]
    ]


@wrong(
    "04.2",
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
    "04.2",
    "where `floor/kitchen/cook` belongs it says `kitchen/cook`",
)
async def looks_at_the_last_level(graph, order):
    paths = []
    async for part in graph.astream(order, subgraphs=True, version="v2"):
        outer = [name.split(":")[0] for name in part["ns"][-1:]]
        paths += ["/".join([*outer, node]) for node in part["data"]]
    return paths


@wrong("04.2", TWICE)
async def reads_starts_and_ends(graph, order):
    view = {"stream_mode": "tasks", "subgraphs": True, "version": "v2"}
    paths = []
    async for part in graph.astream(order, **view):
        outer = [name.split(":")[0] for name in part["ns"]]
        paths.append("/".join([*outer, part["data"]["name"]]))
    return paths


@wrong(
    "04.2",
    "it raised TypeError: tuple indices must be integers or slices, not str, "
    'at `outer = [name.split(":")[0] for name in part["ns"]]`',
)
async def forgets_the_version(graph, order):
    paths = []
    async for part in graph.astream(order, subgraphs=True):
        outer = [name.split(":")[0] for name in part["ns"]]
        paths += ["/".join([*outer, node]) for node in part["data"]]
    return paths


@wrong(
    "04.2",
    "where `kitchen/1/cook` belongs it says `kitchen//cook`",
)
async def cuts_off_an_id(graph, order):
    paths = []
    async for part in graph.astream(order, subgraphs=True, version="v2"):
        outer = [name[:-37] for name in part["ns"]]
        paths += ["/".join([*outer, node]) for node in part["data"]]
    return paths


@right("04.2")
async def reads_v1(graph, order):
    paths = []
    async for ns, chunk in graph.astream(order, subgraphs=True):
        outer = [name.rsplit(":", 1)[0] for name in ns]
        paths += ["/".join([*outer, node]) for node in chunk]
    return paths


@wrong(
    "04.1",
    "the bar never showed 0, which is a percent, too",
)
async def drops_the_zero(graph, order, bar):
    modes = ["custom", "values"]
    async for mode, chunk in graph.astream(order, stream_mode=modes):
        if mode == "values":
            state = chunk
        elif isinstance(chunk, dict) and chunk.get("percent"):
            bar.value = chunk["percent"]
    return state["messages"][-1].text


@wrong(
    "04.1",
    "the bar showed [0, 0, 25, 25, 100], the oven said [0, 25, 25, 100]",
)
async def watches_the_cake(graph, order, bar):
    modes = ["custom", "values"]
    async for mode, chunk in graph.astream(order, stream_mode=modes):
        if mode == "values":
            state = chunk
        elif isinstance(chunk, dict) and chunk.get("dish") == "cake":
            bar.value = chunk.get("percent", 0)
    return state["messages"][-1].text


@right("04.1")
async def reads_the_events(graph, order, bar):
    async for event in graph.astream_events(
        order, version="v2", stream_mode=["custom", "values"]
    ):
        if event["event"] == "on_chain_stream" and not event["parent_ids"]:
            mode, chunk = event["data"]["chunk"]
            if mode == "values":
                state = chunk
            elif isinstance(chunk, dict) and "percent" in chunk:
                bar.value = chunk["percent"]
    return state["messages"][-1].text


@right("04.1")
async def reads_the_updates(graph, order, bar):
    modes = ["custom", "updates"]
    async for part in graph.astream(order, stream_mode=modes, version="v2"):
        data = part["data"]
        if part["type"] == "updates":
            for update in data.values():
                if update:
                    text = update["messages"][-1].text
        elif isinstance(data, dict) and "percent" in data:
            bar.value = data["percent"]
    return text


# --- 04.0


@wrong(
    "04.0",
    "only the outermost graph's reports are there: what is inside needs "
    "`subgraphs=True`",
)
async def stays_on_top(graph, order):
    reports = []
    async for part in graph.astream(order, stream_mode="custom", version="v2"):
        reports.append(part["data"])
    return reports


@wrong(
    "04.0",
    "the list holds dict of a stream, not what was written: take its data",
)
async def keeps_the_parts(graph, order):
    reports = []
    async for part in graph.astream(
        order, stream_mode="custom", subgraphs=True, version="v2"
    ):
        reports.append(part)
    return reports


@wrong(
    "04.0",
    "what is empty or None was written, too, and is gone",
)
async def drops_what_is_falsy(graph, order):
    reports = []
    async for part in graph.astream(
        order, stream_mode="custom", subgraphs=True, version="v2"
    ):
        if part["data"]:
            reports.append(part["data"])
    return reports


@wrong(
    "04.0",
    "it says [{'greet': None}, {'cook': None}, {'taste': None}, "
    "{'kitchen': {'dishes': ['soup']}}, {'pay': None}, {'floor': {'dishes': "
    "['soup', 'soup']}}, {'bye': None}], but ['Welcome!', 0, None, '', "
    "'soup', 'soup', False, [], {}, 'bread', 'good', {'euros': 9}] was "
    "written",
)
async def reads_the_updates_instead(graph, order):
    reports = []
    async for part in graph.astream(order, subgraphs=True, version="v2"):
        reports.append(part["data"])
    return reports


@wrong(
    "04.0",
    "it returned None, not a list of what was written: is a `return` missing?",
)
async def prints_the_reports(graph, order):
    async for part in graph.astream(
        order, stream_mode="custom", subgraphs=True, version="v2"
    ):
        print(part["data"])


@right("04.0")
async def reads_pairs(graph, order):
    stream = graph.astream(order, stream_mode="custom", subgraphs=True)
    return [chunk async for _, chunk in stream]


# --- 04.3


@wrong(
    "04.3",
    "it counted 80 of 89 tokens: calls in a tool, in an inner graph or "
    "of a model tagged `nostream` are missing",
)
async def sums_the_state(graph, order):
    state = await graph.ainvoke(order)
    total = 0
    for message in state["messages"]:
        if getattr(message, "usage_metadata", None):
            total += message.usage_metadata["output_tokens"]
    return total


@wrong(
    "04.3",
    "it counted 85 of 89 tokens: calls in a tool, in an inner graph or "
    "of a model tagged `nostream` are missing",
)
async def sums_the_tokens_of_messages(graph, order):
    total = 0
    async for part in graph.astream(
        order, stream_mode="messages", subgraphs=True, version="v2"
    ):
        message, _ = part["data"]
        if getattr(message, "usage_metadata", None):
            total += message.usage_metadata["output_tokens"]
    return total


@wrong(
    "04.3",
    "it counted 131 tokens of 89: only `output_tokens` count, and each "
    "call once",
)
async def counts_all_tokens(graph, order):
    total = 0
    async for event in graph.astream_events(order, version="v2"):
        if event["event"] == "on_chat_model_end":
            total += event["data"]["output"].usage_metadata["total_tokens"]
    return total


@wrong(
    "04.3",
    "it counted 6 of 89 tokens: calls in a tool, in an inner graph or of "
    "a model tagged `nostream` are missing",
)
async def counts_the_calls(graph, order):
    total = 0
    async for event in graph.astream_events(order, version="v2"):
        if event["event"] == "on_chat_model_end":
            total += 1
    return total


@wrong(
    "04.3",
    "it counted nothing: which event has the whole message?",
)
async def waits_for_another_event(graph, order):
    total = 0
    async for event in graph.astream_events(order, version="v2"):
        if event["event"] == "on_llm_end":
            total += event["data"]["output"].usage_metadata["output_tokens"]
    return total


@wrong(
    "04.3",
    "it counted 30 of 89 tokens: calls in a tool, in an inner graph or "
    "of a model tagged `nostream` are missing",
)
async def keeps_the_last_call(graph, order):
    total = 0
    async for event in graph.astream_events(order, version="v2"):
        if event["event"] == "on_chat_model_end":
            total = event["data"]["output"].usage_metadata["output_tokens"]
    return total


@wrong(
    "04.3",
    "it returned None, not a number: is a `return` missing?",
)
async def prints_the_total(graph, order):
    total = 0
    async for event in graph.astream_events(order, version="v2"):
        if event["event"] == "on_chat_model_end":
            total += event["data"]["output"].usage_metadata["output_tokens"]
    print(total)


@right("04.3")
async def uses_a_callback(graph, order):
    with get_usage_metadata_callback() as usage:
        await graph.ainvoke(order)
    return sum(u["output_tokens"] for u in usage.usage_metadata.values())


@right("04.3")
async def sums_the_chunks(graph, order):
    total = 0
    async for event in graph.astream_events(order, version="v2"):
        if event["event"] == "on_chat_model_stream":
            usage = event["data"]["chunk"].usage_metadata
            if usage:
                total += usage["output_tokens"]
    return total
