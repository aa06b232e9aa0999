"""Answers to lab 16 that differ in more than a line from its solution."""

from langchain_core.messages import RemoveMessage, ToolMessage
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.types import Command

from tests.wrong import changed, right


def on(thread):
    return {"configurable": {"thread_id": thread}}


@right("16.1")
async def reads_the_values(graph, thread, text):
    state = await graph.aget_state(on(thread))
    given = {"messages": [("user", text)]}
    if state.interrupts:
        given = Command(resume={state.interrupts[0].id: text})
    stream = graph.astream(
        given, on(thread), stream_mode=["messages", "values"], version="v2"
    )
    async for part in stream:
        if part["type"] == "values":
            for asked in part["interrupts"]:
                yield asked.value
        elif part["data"][0].type == "AIMessageChunk":
            yield part["data"][0].text


@right("16.2")
async def puts_them_behind_the_results(graph, thread):
    state = await graph.aget_state(on(thread))
    messages = state.values.get("messages", [])
    done = {m.tool_call_id for m in messages if m.type == "tool"}
    whole, due, added = [], [], 0
    for message in messages:
        if message.type != "tool":
            whole += due
            due = []
        whole.append(message)
        for call in getattr(message, "tool_calls", []):
            if call["id"] not in done:
                due.append(ToolMessage("cancelled", tool_call_id=call["id"]))
                added += 1
    if added:
        everything = RemoveMessage(REMOVE_ALL_MESSAGES)
        update = {"messages": [everything, *whole, *due]}
        await graph.aupdate_state(on(thread), update)
    return added


changed(
    "16.0",
    """
    the list holds the interrupts, not their `value`
    - return [asked.value for asked in state.interrupts]
    + return [asked for asked in state.interrupts]

    it returned [{'place': 'window'}] for a thread that waits for [{'place':
    'window'}, 'For how many?']
    - return [asked.value for asked in state.interrupts]
    + return [asked.value for asked in state.interrupts[:1]]

    it returned ['window', 'people'] for a thread that waits for [{'place':
    'window'}, 'For how many?']
    - return [asked.value for asked in state.interrupts]
    + return list(state.next)

    it returned a tuple, not a list of values
    - return [asked.value for asked in state.interrupts]
    + return tuple(asked.value for asked in state.interrupts)

    it returned None, not a list of values: is a `return` missing?
    - return [asked.value for asked in state.interrupts]
    + print(asked.value for asked in state.interrupts)

    ✅
    - return [asked.value for asked in state.interrupts]
    + return [asked.value for task in state.tasks for asked in task.interrupts]
    """,
)


changed(
    "16.1",
    r"""
    the thread waits for an answer, and '4' did not reach it: the run did not
    go on
    - if await open_questions(graph, thread):
    -     given = Command(resume=text)

    a new thread waits for no answer: the text is its message
    - if await open_questions(graph, thread):
    + if True:

    a run that was cut off has a `next` and waits for no answer: the text is a
    new message
    - if await open_questions(graph, thread):
    + if (await graph.aget_state(on(thread))).next:

    after a restart it did not take the text for the answer: only the thread
    knows that it waits
    + WAITING = {}
    +
    +
      async def chat(graph, thread, text):
          given = {"messages": [("user", text)]}
    -     if await open_questions(graph, thread):
    +     if WAITING.pop(thread, False):
    @@
      for question in await open_questions(graph, thread):
    +     WAITING[thread] = True

    the run stops at a question, and it is not among what was yielded: ['Soup',
    '\n\n', '0', ' ', 'no', 'no', '{}', '\n', '\u2028é']
    - for question in await open_questions(graph, thread):
    -     yield question

    it yielded a message that a node wrote, not the model: only
    `AIMessageChunk`
    - if message.type == "AIMessageChunk" and message.text:
    + if message.text:

    it returned an Interrupt, not a text
    - for question in await open_questions(graph, thread):
    + for question in (await graph.aget_state(on(thread))).interrupts:

    it yielded the question 2 times
      yield question
    + yield question

    no word came while the model still wrote: yield each token as it comes
    - async for token in tokens(graph, thread, given):
    + for token in [t async for t in tokens(graph, thread, given)]:

    it called a sync method, and the saver belongs to this event loop: await
    the one with an `a`
    - if await open_questions(graph, thread):
    + if graph.get_state(on(thread)).interrupts:

    the thread waits for an answer, and '0' did not reach it: the run did not
    go on
    - if await open_questions(graph, thread):
    + if await open_questions(graph, thread) and text != "0":

    the answer led to another question, and it yielded [], not ['For how
    many?']
    - yield question
    + if isinstance(given, dict):
    +     yield question
    """,
)


changed(
    "16.2",
    """
a message stands between a call and its result: OpenAI refuses that, too
- whole = []
+ whole = list(messages)
  for message in messages:
-     whole.append(message)

the messages that were there are not as they were: all stay, in their order
-             whole.append(ToolMessage("cancelled", tool_call_id=call["id"]))
+             whole.remove(message)
+             break
-
+
- if len(whole) > len(messages):
+ if len(whole) < len(messages):

a thread that lacks no result got a new checkpoint
- if len(whole) > len(messages):
+ if messages:

it added 2 messages, and 1 result was missing
- if call["id"] not in done:
+ if any(c["id"] not in done for c in calls_of(message)):

still without a result: bread, of ['bread', 'rice', 'salad']
- for call in calls_of(message):
+ last = [m for m in messages if calls_of(m)][-1:]
+ for call in calls_of(message) if [message] == last else []:

still without a result: cake, of ['soup', 'cake']
- for call in calls_of(message):
+ for call in calls_of(message)[:1]:

a new result says '', not 'cancelled'
- whole.append(ToolMessage("cancelled", tool_call_id=call["id"]))
+ whole.append(ToolMessage("", tool_call_id=call["id"]))

it returned 6, and it added 1
- return len(whole) - len(messages)
+ return len(whole)
""",
)
