"""Wrong answers to the check of lesson 16 and to lab 16."""

from langchain_core.messages import RemoveMessage, ToolMessage
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.types import Command

from tests.wrong import right, wrong


def ask(text):
    return {"messages": [("user", text)]}


def on(thread):
    return {"configurable": {"thread_id": thread}}


SYNC = (
    "it called a sync method, and the saver belongs to this event loop: "
    "await the one with an `a`"
)


# --- 16.0


@wrong("16.0", "the list holds the interrupts, not their `value`")
async def returns_the_interrupts(graph, thread):
    return list((await graph.aget_state(on(thread))).interrupts)


@wrong(
    "16.0",
    "it returned [{'place': 'window'}] for a thread that waits for "
    "[{'place': 'window'}, 'For how many?']",
)
async def returns_the_first(graph, thread):
    state = await graph.aget_state(on(thread))
    return [state.interrupts[0].value] if state.interrupts else []


@wrong(
    "16.0",
    "it returned ['window', 'people'] for a thread that waits for "
    "[{'place': 'window'}, 'For how many?']",
)
async def returns_what_is_next(graph, thread):
    return list((await graph.aget_state(on(thread))).next)


@wrong("16.0", "it returned a tuple, not a list of values")
async def returns_a_tuple(graph, thread):
    state = await graph.aget_state(on(thread))
    return tuple(i.value for i in state.interrupts)


@wrong(
    "16.0", "it returned None, not a list of values: is a `return` missing?"
)
async def returns_nothing(graph, thread):
    print((await graph.aget_state(on(thread))).interrupts)


@right("16.0")
async def asks_the_tasks(graph, thread):
    state = await graph.aget_state(on(thread))
    return [i.value for task in state.tasks for i in task.interrupts]


# --- 16.1


async def run(graph, thread, given):
    async for part in graph.astream(
        given,
        on(thread),
        stream_mode=["messages", "updates"],
        version="v2",
    ):
        if part["type"] == "messages":
            message, _ = part["data"]
            if message.type == "AIMessageChunk" and message.text:
                yield message.text
        else:
            for asked in part["data"].get("__interrupt__", ()):
                yield asked.value


async def given_for(graph, thread, text):
    state = await graph.aget_state(on(thread))
    return Command(resume=text) if state.interrupts else ask(text)


@wrong(
    "16.1",
    "the thread waits for an answer, and '4' did not reach it: the run "
    "did not go on",
)
async def always_a_message(graph, thread, text):
    async for piece in run(graph, thread, ask(text)):
        yield piece


@wrong("16.1", "a new thread waits for no answer: the text is its message")
async def always_an_answer(graph, thread, text):
    async for piece in run(graph, thread, Command(resume=text)):
        yield piece


@wrong(
    "16.1",
    "a run that was cut off has a `next` and waits for no answer: the "
    "text is a new message",
)
async def takes_next_for_a_question(graph, thread, text):
    state = await graph.aget_state(on(thread))
    given = Command(resume=text) if state.next else ask(text)
    async for piece in run(graph, thread, given):
        yield piece


WAITING = set()


@wrong(
    "16.1",
    "after a restart it did not take the text for the answer: only the "
    "thread knows that it waits",
)
async def remembers_who_waits(graph, thread, text):
    given = Command(resume=text) if thread in WAITING else ask(text)
    WAITING.discard(thread)
    async for part in graph.astream(
        given, on(thread), stream_mode=["messages", "updates"], version="v2"
    ):
        if part["type"] == "messages":
            message, _ = part["data"]
            if message.type == "AIMessageChunk" and message.text:
                yield message.text
        else:
            for asked in part["data"].get("__interrupt__", ()):
                WAITING.add(thread)
                yield asked.value


@wrong(
    "16.1",
    "the run stops at a question, and it is not among what was yielded: "
    "['Soup', '\\n\\n', '0', ' ', 'no', 'no', '{}', '\\n', '\\u2028é', '']",
)
async def only_tokens(graph, thread, text):
    given = await given_for(graph, thread, text)
    stream = graph.astream(given, on(thread), stream_mode="messages")
    async for message, _ in stream:
        if message.type == "AIMessageChunk":
            yield message.text


@wrong(
    "16.1",
    "it yielded a message that a node wrote, not the model: only "
    "`AIMessageChunk`",
)
async def does_not_filter(graph, thread, text):
    given = await given_for(graph, thread, text)
    stream = graph.astream(
        given, on(thread), stream_mode=["messages", "updates"], version="v2"
    )
    async for part in stream:
        if part["type"] == "messages":
            yield part["data"][0].text
        else:
            for asked in part["data"].get("__interrupt__", ()):
                yield asked.value


@wrong("16.1", "it returned an Interrupt, not a text")
async def yields_the_interrupt(graph, thread, text):
    given = await given_for(graph, thread, text)
    async for piece in run(graph, thread, given):
        yield piece
    state = await graph.aget_state(on(thread))
    for asked in state.interrupts:
        yield asked


@wrong("16.1", "it yielded the question 2 times")
async def asks_twice(graph, thread, text):
    given = await given_for(graph, thread, text)
    async for piece in run(graph, thread, given):
        yield piece
    state = await graph.aget_state(on(thread))
    for asked in state.interrupts:
        yield asked.value


@wrong(
    "16.1",
    "no word came while the model still wrote: yield each token as it comes",
)
async def waits_for_it_all(graph, thread, text):
    given = await given_for(graph, thread, text)
    for piece in [piece async for piece in run(graph, thread, given)]:
        yield piece


@wrong("16.1", SYNC)
async def looks_in_sync(graph, thread, text):
    state = graph.get_state(on(thread))
    given = Command(resume=text) if state.interrupts else ask(text)
    async for piece in run(graph, thread, given):
        yield piece


@wrong(
    "16.1",
    "the thread waits for an answer, and '0' did not reach it: the run "
    "did not go on",
)
async def takes_a_falsy_answer_for_none(graph, thread, text):
    state = await graph.aget_state(on(thread))
    resume = state.interrupts and text != "0"
    given = Command(resume=text) if resume else ask(text)
    async for piece in run(graph, thread, given):
        yield piece


@right("16.1")
async def asks_the_state_in_the_end(graph, thread, text):
    state = await graph.aget_state(on(thread))
    given = ask(text)
    if state.interrupts:
        given = Command(resume={state.interrupts[0].id: text})
    stream = graph.astream(given, on(thread), stream_mode="messages")
    async for message, _ in stream:
        if message.type == "AIMessageChunk":
            yield message.text
    state = await graph.aget_state(on(thread))
    for asked in state.interrupts:
        yield asked.value


@right("16.1")
async def reads_the_values(graph, thread, text):
    given = await given_for(graph, thread, text)
    stream = graph.astream(
        given, on(thread), stream_mode=["messages", "values"], version="v2"
    )
    async for part in stream:
        if part["type"] == "values":
            for asked in part["interrupts"]:
                yield asked.value
        elif part["data"][0].type == "AIMessageChunk":
            yield part["data"][0].text


# --- 16.2


async def state_of(graph, thread):
    state = await graph.aget_state(on(thread))
    messages = state.values.get("messages", [])
    done = {m.tool_call_id for m in messages if m.type == "tool"}
    return messages, done


def calls_of(message):
    return getattr(message, "tool_calls", [])


def no_result(call, text="cancelled"):
    return ToolMessage(text, tool_call_id=call["id"])


async def write(graph, thread, messages):
    everything = RemoveMessage(REMOVE_ALL_MESSAGES)
    update = {"messages": [everything, *messages]}
    await graph.aupdate_state(on(thread), update)


@wrong(
    "16.2",
    "a message stands between a call and its result: OpenAI refuses that, too",
)
async def appends_them(graph, thread):
    messages, done = await state_of(graph, thread)
    missing = [
        no_result(call)
        for message in messages
        for call in calls_of(message)
        if call["id"] not in done
    ]
    if missing:
        await graph.aupdate_state(on(thread), {"messages": missing})
    return len(missing)


@wrong(
    "16.2",
    "the messages that were there are not as they were: all stay, in "
    "their order",
)
async def removes_the_calls(graph, thread):
    messages, done = await state_of(graph, thread)
    gone = [
        RemoveMessage(message.id)
        for message in messages
        if any(call["id"] not in done for call in calls_of(message))
    ]
    if gone:
        await graph.aupdate_state(on(thread), {"messages": gone})
    return len(gone)


@wrong("16.2", "a thread that lacks no result got a new checkpoint")
async def writes_every_thread(graph, thread):
    messages, done = await state_of(graph, thread)
    whole, added = [], 0
    for message in messages:
        whole.append(message)
        for call in calls_of(message):
            if call["id"] not in done:
                whole.append(no_result(call))
                added += 1
    await write(graph, thread, whole)
    return added


@wrong("16.2", "it added 2 messages, and 1 result was missing")
async def answers_all_calls(graph, thread):
    messages, done = await state_of(graph, thread)
    whole, added = [], 0
    for message in messages:
        whole.append(message)
        calls = calls_of(message)
        if any(call["id"] not in done for call in calls):
            whole += map(no_result, calls)
            added += len(calls)
    if added:
        await write(graph, thread, whole)
    return added


@wrong("16.2", "still without a result: bread, of ['bread', 'rice', 'salad']")
async def answers_the_last_message(graph, thread):
    messages, done = await state_of(graph, thread)
    whole, added = list(messages), 0
    for index in range(len(messages) - 1, -1, -1):
        if calls_of(messages[index]):
            for call in calls_of(messages[index]):
                if call["id"] not in done:
                    whole.insert(index + 1, no_result(call))
                    added += 1
            break
    if added:
        await write(graph, thread, whole)
    return added


@wrong("16.2", "still without a result: cake, of ['soup', 'cake']")
async def answers_one_call_of_each(graph, thread):
    messages, done = await state_of(graph, thread)
    whole, added = [], 0
    for message in messages:
        whole.append(message)
        for call in calls_of(message)[:1]:
            if call["id"] not in done:
                whole.append(no_result(call))
                added += 1
    if added:
        await write(graph, thread, whole)
    return added


@wrong("16.2", "a new result says '', not 'cancelled'")
async def says_something_else(graph, thread):
    messages, done = await state_of(graph, thread)
    whole, added = [], 0
    for message in messages:
        whole.append(message)
        for call in calls_of(message):
            if call["id"] not in done:
                whole.append(no_result(call, ""))
                added += 1
    if added:
        await write(graph, thread, whole)
    return added


@wrong("16.2", "it returned 6, and it added 1")
async def returns_the_thread(graph, thread):
    messages, done = await state_of(graph, thread)
    whole = []
    for message in messages:
        whole.append(message)
        for call in calls_of(message):
            if call["id"] not in done:
                whole.append(no_result(call))
    if len(whole) > len(messages):
        await write(graph, thread, whole)
    return len(whole)


@right("16.2")
async def puts_them_behind_the_results(graph, thread):
    messages, done = await state_of(graph, thread)
    whole, due, added = [], [], 0
    for message in messages:
        if message.type != "tool":
            whole += due
            due = []
        whole.append(message)
        for call in calls_of(message):
            if call["id"] not in done:
                due.append(no_result(call))
                added += 1
    if added:
        await write(graph, thread, [*whole, *due])
    return added


# --- what the first judges did not see


@wrong(
    "16.1",
    "the answer led to another question, and it yielded [], not "
    "['For how many?']",
)
async def asks_only_after_a_message(graph, thread, text):
    given = await given_for(graph, thread, text)
    async for piece in run(graph, thread, given):
        if isinstance(given, dict) or piece != "For how many?":
            yield piece
