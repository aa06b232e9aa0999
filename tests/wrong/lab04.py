"""Wrong answers, and right ones, to lesson 04 and lab 04."""

from langchain_core.callbacks import get_usage_metadata_callback

from tests.wrong import changed, right

changed(
    "04.0",
    """
    only the outermost graph's reports are there: what is inside needs
    `subgraphs=True`
    - order, stream_mode="custom", subgraphs=True, version="v2"
    + order, stream_mode="custom", version="v2"

    the list holds dict of a stream, not what was written: take its data
    - reports.append(part["data"])
    + reports.append(part)

    what is empty or None was written, too, and is gone
    - reports.append(part["data"])
    + if part["data"]:
    +     reports.append(part["data"])

    it says [{'greet': None}, {'cook': None}, {'taste': None}, {'kitchen':
    {'dishes': ['soup']}}, {'pay': None}, {'floor': {'dishes': ['soup',
    'soup']}}, {'bye': None}], but ['Welcome!', 0, None, '', 'soup', 'soup',
    False, [], {}, 'bread', 'good', {'euros': 9}] was written
    - order, stream_mode="custom", subgraphs=True, version="v2"
    + order, stream_mode="updates", subgraphs=True, version="v2"

    it returned None, not a list of what was written: is a `return` missing?
    - return reports
    + print(reports)

    ✅
    - async for part in graph.astream(
    -     order, stream_mode="custom", subgraphs=True, version="v2"
    - ):
    -     reports.append(part["data"])
    + stream = graph.astream(order, stream_mode="custom", subgraphs=True)
    + async for _, chunk in stream:
    +     reports.append(chunk)
    """,
)

changed(
    "04.1",
    """
    the bar stood still while the cake baked
    - async for part in graph.astream(order, stream_mode=modes, version="v2"):
    + stream = graph.astream(order, stream_mode=modes, version="v2")
    + for part in [part async for part in stream]:

    the graph ran 2 times: one run can stream two modes
    - return text
    + state = await graph.ainvoke(order)
    + return state["messages"][-1].text

    it raised TypeError: string indices must be integers, not 'str', at
    `bar.value = data["percent"]`
    - elif isinstance(data, dict) and "percent" in data:
    + else:

    `bar.value` was never set
    - bar.value = data["percent"]
    + bar = data["percent"]

    the bar got 'Welcome!': other nodes write to `custom` as well
    - elif isinstance(data, dict) and "percent" in data:
    -     bar.value = data["percent"]
    + else:
    +     bar.value = data if isinstance(data, str) else data.get("percent")

    it returned None, not the text of the reply: is a `return` missing?
    - return text
    + print(text)

    the bar showed [0, 25, 50, 150], the oven said [0, 25, 25, 100]
    - bar.value = data["percent"]
    + bar.value = (bar.value or 0) + data["percent"]

    the bar showed [25, 25, 100], the oven said [0, 25, 25, 100]
    - elif isinstance(data, dict) and "percent" in data:
    + elif isinstance(data, dict) and data.get("percent"):

    the bar showed [0, 0, 25, 25, 100], the oven said [0, 25, 25, 100]
    - elif isinstance(data, dict) and "percent" in data:
    -     bar.value = data["percent"]
    + elif isinstance(data, dict) and data.get("dish") == "cake":
    +     bar.value = data.get("percent", 0)

    ✅
    - modes = ["custom", "values"]
    + modes = ["custom", "updates"]
    @@
    - if part["type"] == "values":
    -     text = data["messages"][-1].text
    + if part["type"] == "updates":
    +     for update in filter(None, data.values()):
    +         text = update["messages"][-1].text
    """,
)


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


changed(
    "04.2",
    """
    where `kitchen/cook` belongs it says `kitchen`
    - order, stream_mode="updates", subgraphs=True, version="v2"
    + order, stream_mode="updates", version="v2"

    where `kitchen/cook` belongs it says `cook`
    - paths.append("/".join([*outer, node]))
    + paths.append(node)

    a path holds a generated id: keep what stands before the `:`
    - outer = [name.split(":")[0] for name in part["ns"]]
    + outer = part["ns"]

    it raised IndexError: tuple index out of range, at
    `outer = [part["ns"][0].split(":")[0]]`
    - outer = [name.split(":")[0] for name in part["ns"]]
    + outer = [part["ns"][0].split(":")[0]]

    where `floor/kitchen/cook` belongs it says `kitchen/cook`
    - outer = [name.split(":")[0] for name in part["ns"]]
    + outer = [name.split(":")[0] for name in part["ns"][-1:]]

    each node is named twice: `tasks` tells of its start and of its end
    - order, stream_mode="updates", subgraphs=True, version="v2"
    + order, stream_mode="tasks", subgraphs=True, version="v2"
    @@
    - for node in part["data"]:
    -     paths.append("/".join([*outer, node]))
    + paths.append("/".join([*outer, part["data"]["name"]]))

    it raised TypeError: tuple indices must be integers or slices, not str, at
    `outer = [name.split(":")[0] for name in part["ns"]]`
    - order, stream_mode="updates", subgraphs=True, version="v2"
    + order, stream_mode="updates", subgraphs=True

    where `kitchen/1/cook` belongs it says `kitchen//cook`
    - outer = [name.split(":")[0] for name in part["ns"]]
    + outer = [name[:-37] for name in part["ns"]]

    ✅
    - order, stream_mode="updates", subgraphs=True, version="v2"
    + order, subgraphs=True
    @@
    - async for part in stream:
    + async for ns, data in stream:
    +     part = {"ns": ns, "data": data}
    """,
)

changed(
    "04.3",
    """
    it counted 85 of 89 tokens: calls in a tool, in an inner graph or of a
    model tagged `nostream` are missing
    - async for event in graph.astream_events(order, version="v2"):
    -     if event["event"] == "on_chat_model_end":
    -         usage = event["data"]["output"].usage_metadata
    -         total += usage["output_tokens"]
    + async for part in graph.astream(
    +     order, stream_mode="messages", subgraphs=True, version="v2"
    + ):
    +     message, _ = part["data"]
    +     if getattr(message, "usage_metadata", None):
    +         total += message.usage_metadata["output_tokens"]

    it counted 131 tokens of 89: only `output_tokens` count, and each call once
    - total += usage["output_tokens"]
    + total += usage["total_tokens"]

    it counted 6 of 89 tokens: calls in a tool, in an inner graph or of a model
    tagged `nostream` are missing
    - total += usage["output_tokens"]
    + total += 1

    it counted nothing: which event has the whole message?
    - if event["event"] == "on_chat_model_end":
    + if event["event"] == "on_llm_end":

    it counted 30 of 89 tokens: calls in a tool, in an inner graph or of a
    model tagged `nostream` are missing
    - total += usage["output_tokens"]
    + total = usage["output_tokens"]

    it returned None, not a number: is a `return` missing?
    - return total
    + print(total)

    ✅
    - if event["event"] == "on_chat_model_end":
    -     usage = event["data"]["output"].usage_metadata
    -     total += usage["output_tokens"]
    + if event["event"] == "on_chat_model_stream":
    +     usage = event["data"]["chunk"].usage_metadata
    +     total += usage["output_tokens"] if usage else 0
    """,
)


@right("04.3")
async def uses_a_callback(graph, order):
    with get_usage_metadata_callback() as usage:
        await graph.ainvoke(order)
    return sum(u["output_tokens"] for u in usage.usage_metadata.values())
