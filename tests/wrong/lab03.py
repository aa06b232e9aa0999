"""Wrong answers, and right ones, to lesson 03 and lab 03."""

from tests.wrong import changed

changed(
    "03.0",
    """
the list is empty: this mode has nothing to say about nodes, or its name is
misspelled
- async for part in graph.astream(order, stream_mode="updates", version="v2"):
+ async for part in graph.astream(order, stream_mode="update", version="v2"):

the list is empty: this mode has nothing to say about nodes, or its name is
misspelled
- async for part in graph.astream(order, stream_mode="updates", version="v2"):
-     for node in part["data"]:
-         names.append(node)
+ async for _, about in graph.astream(order, stream_mode="messages"):
+     names.append(about["langgraph_node"])

it says dishes, but bake, boil, taste, taste, taste ran
- async for part in graph.astream(order, stream_mode="updates", version="v2"):
+ async for part in graph.astream(order, stream_mode="values", version="v2"):

each node is named twice: `tasks` tells of its start and of its end
- async for part in graph.astream(order, stream_mode="updates", version="v2"):
-     for node in part["data"]:
-         names.append(node)
+ async for task in graph.astream(order, stream_mode="tasks"):
+     names.append(task["name"])

`dry` started before `wash` and finished after it: the order is not that of
the ends
- async for part in graph.astream(order, stream_mode="updates", version="v2"):
-     for node in part["data"]:
-         names.append(node)
+ async for task in graph.astream(order, stream_mode="tasks"):
+     if "input" in task:
+         names.append(task["name"])

the list holds dict, not names of nodes
- for node in part["data"]:
-     names.append(node)
+ names.append(part["data"])

it says bake, boil, taste, but bake, boil, taste, taste, taste ran
- return names
+ return list(dict.fromkeys(names))

the graph never ran
- async for part in graph.astream(order, stream_mode="updates", version="v2"):
-     for node in part["data"]:
-         names.append(node)
- return names
+ return list(graph.nodes)

it returned None, not a list of names of nodes: is a `return` missing?
- return names
+ print(*names)
""",
)

changed(
    "03.1",
    r"""
    the graph ran 3 times: one run can stream three modes
    - modes = ["messages", "custom", "updates"]
    - async for part in graph.astream(order, stream_mode=modes, version="v2"):
    + async def runs():
    +     for mode in ["messages"], ["custom"], ["updates"]:
    +         stream = graph.astream(order, stream_mode=mode, version="v2")
    +         async for part in stream:
    +             yield part
    + async for part in runs():

    the first Step came late: nothing was streamed
    - async for part in graph.astream(order, stream_mode=modes, version="v2"):
    + stream = graph.astream(order, stream_mode=modes, version="v2")
    + for part in [part async for part in stream]:

    `The cake is ready.` is the result of a tool, not a token of the model
    - if isinstance(message, AIMessageChunk) and message.text:
    + if message.text:

    a Token is empty: keep the pieces that have text
    - if isinstance(message, AIMessageChunk) and message.text:
    + if isinstance(message, AIMessageChunk):

    it yielded tuple, not Token, Progress or Step
    - yield Step(node)
    + yield part["type"], node

    `Step.node` is dict, not str
    - yield Step(node)
    + yield Step(data)

    no Step came
    - modes = ["messages", "custom", "updates"]
    + modes = ["messages", "custom", "update"]

    it returned a coroutine, not an async generator: `yield` each event
    - yield Step(node)
    + print(node)
    @@
    - yield Progress(data["percent"])
    + print(data)
    @@
    - yield Token(message.text)
    + print(message)

    where `Progress 0` belongs came `Progress 25`
    - if isinstance(data, dict) and "percent" in data:
    + if isinstance(data, dict) and data.get("percent"):

    where `Token '\n\n'` belongs came `Token '0'`
    - if isinstance(message, AIMessageChunk) and message.text:
    + if isinstance(message, AIMessageChunk) and message.text.strip():

    ✅
    - async for part in graph.astream(order, stream_mode=modes, version="v2"):
    -     data = part["data"]
    -     if part["type"] == "updates":
    + async for mode, data in graph.astream(order, stream_mode=modes):
    +     part = {"type": mode}
    +     if mode == "updates":

    ✅
    - async def events(graph, order):
    + class events:
    +     def __init__(self, graph, order):
    +         self.ready = told(graph, order)
    +     def __aiter__(self):
    +         return self
    +     def __anext__(self):
    +         return anext(self.ready)
    + async def told(graph, order):
    """,
)

changed(
    "03.2",
    """
    the ValueError of the node came through, and the report is lost
    - with suppress(Exception):  # the report tells of it
    + with suppress(TimeoutError):

    it reports 3 tasks of 5: each has an `id`, and what was cut off has no end
    - task = part["data"]
    + task = part["data"]
    + if task.get("error", task):
    +     continue

    it reports 2 tasks of 5: each has an `id`, and what was cut off has no end
    - tasks[task["id"]] = (task["name"], outcome)
    + tasks[task["name"]] = (task["name"], outcome)

    9 entries for 5 tasks: the start and the end of a task share one `id`
    - tasks[task["id"]] = (task["name"], outcome)
    + tasks[len(tasks)] = (task["name"], outcome)

    where ('cook', 'failed: the pan is too hot') belongs it says ('cook',
    'done')
    - elif task["error"] is not None:
    -     outcome = f"failed: {task['error']}"

    it reports 4 tasks of 5: each has an `id`, and what was cut off has no end
    - outcome = "cut off"  # until its end comes
    + continue

    it returned None, not a list of pairs: is a `return` missing?
              tasks[task["id"]] = (task["name"], outcome)
    - return list(tasks.values())
    +     return list(tasks.values())

    the list holds str, not (name, outcome)
    - tasks[task["id"]] = (task["name"], outcome)
    + tasks[task["id"]] = f"{task['name']}: {outcome}"

    it swallowed a cancel: catch `Exception`, not more
    - with suppress(Exception):  # the report tells of it
    + with suppress(BaseException):

    the tasks are not in the order in which they started
    - tasks[task["id"]] = (task["name"], outcome)
    + tasks.pop(task["id"], None)
    + tasks[task["id"]] = (task["name"], outcome)

    ✅
    - stream = graph.astream(order, stream_mode="tasks", version="v2")
    + stream = graph.astream(order, stream_mode="debug", version="v2")
    @@
    - task = part["data"]
    + if not part["data"]["type"].startswith("task"):
    +     continue
    + task = part["data"]["payload"]
    """,
)
