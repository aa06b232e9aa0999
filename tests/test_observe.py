"""What a timeline records, says and draws, and what a heartbeat misses."""

import asyncio
import base64
import re
import threading
import time
from contextlib import aclosing, suppress
from xml.etree import ElementTree

import openai
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import (
    ChatGeneration,
    ChatGenerationChunk,
    ChatResult,
)
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph

from tools.build import masked as masked_for_nbval
from workshop.model import practice_model
from workshop.observe import Call, Heartbeat, Timeline
from workshop.observe.draw import BLOCKED, INK, STREAMING, width_of
from workshop.observe.record import _active

STEP = 0.02  # seconds before each token
HELD = 0.3  # seconds that the event loop is held
TOKENS = ["one ", "two ", "three"]
DURATION = re.compile(r"\d+\.\d+ s")


class Waiter(BaseChatModel):
    """Says three words, and does not need a server for it."""

    @property
    def _llm_type(self) -> str:
        return "waiter"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        if messages[-1].text == "trouble":
            raise ValueError("trouble")
        time.sleep(STEP)
        answer = AIMessage("".join(TOKENS))
        return ChatResult(generations=[ChatGeneration(message=answer)])

    async def _agenerate(self, messages, stop=None, run_manager=None, **kw):
        await asyncio.sleep(STEP)
        return self._generate(messages)

    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        for token in ["", *TOKENS]:
            time.sleep(STEP)
            yield ChatGenerationChunk(message=AIMessageChunk(token))

    async def _astream(self, messages, stop=None, run_manager=None, **kw):
        for token in ["", *TOKENS]:
            await asyncio.sleep(STEP)
            yield ChatGenerationChunk(message=AIMessageChunk(token))


waiter = Waiter()


def hold() -> None:
    time.sleep(HELD)


async def read(stream) -> None:
    async for _ in stream:
        pass


def recorded(work) -> Timeline:
    """What a coroutine function does on a fresh loop; it gets the timeline."""

    async def run() -> Timeline:
        with Timeline() as timeline:
            await work(timeline)
        return timeline

    return asyncio.run(run())


def facts(timeline: Timeline) -> list[tuple]:
    return [(c.label, len(c.tokens), c.outcome) for c in timeline.calls]


def masked(timeline: Timeline) -> list[str]:
    return DURATION.sub("# s", str(timeline)).splitlines()


def finished(start: float, end: float, tokens: int = 3, **more) -> Call:
    step = (end - start) / (tokens + 1)
    times = [start + step * (k + 1) for k in range(tokens)]
    return Call(
        **{"label": "x", "outcome": "done"}
        | more
        | {
            "start": start,
            "tokens": times,
            "end": end,
        }
    )


def drawn(calls: list[Call]) -> Timeline:
    timeline = Timeline()
    timeline._calls = dict(enumerate(calls))
    timeline._ended = timeline._began + max((c.end for c in calls), default=1)
    return timeline


def picture(html: str) -> ElementTree.Element:
    """The SVG in an HTML picture."""
    [data] = re.findall(r'src="data:image/svg\+xml;base64,(.*?)"', html)
    assert len(data) < 60_000
    return ElementTree.fromstring(base64.b64decode(data))


def inside(svg: ElementTree.Element) -> bool:
    """Whether all texts and boxes are within the picture."""
    _, _, width, height = map(float, svg.get("viewBox").split())
    for element in svg.iter():
        kind = element.tag.rpartition("}")[2]
        if kind not in ("text", "rect"):
            continue
        x, y = float(element.get("x")), float(element.get("y"))
        right = x + float(element.get("width", 0))
        if kind == "text":
            long = width_of(element.text or "")
            share = {"end": 1, "middle": 0.5, None: 0}
            x -= long * share[element.get("text-anchor")]
            right = x + long
        if not (0 <= x <= right <= width + 1 and 0 <= y <= height):
            return False
    return True


def texts(svg: ElementTree.Element) -> list[str]:
    return [e.text for e in svg.iter() if e.tag.endswith("}text")]


# Who is recorded


def test_one_after_another_and_together():
    async def sequence(_):
        for name in "ab":
            await read(waiter.astream(name))

    async def together(_):
        await asyncio.gather(*(read(waiter.astream(n)) for n in "abc"))

    slow, quick = recorded(sequence), recorded(together)
    assert facts(slow) == [("a", 3, "done"), ("b", 3, "done")]
    assert facts(quick) == [(name, 3, "done") for name in "abc"]
    assert (slow.peak, quick.peak) == (1, 3)
    for call in slow.calls + quick.calls:
        times = [call.start, *call.tokens, call.end]
        assert times == sorted(times)
        assert call.first_token == call.tokens[0]


def test_sync_calls_streamed_or_not():
    with Timeline() as timeline:
        list(waiter.stream("streamed"))
        waiter.invoke("whole")
    assert facts(timeline) == [("streamed", 3, "done"), ("whole", 0, "done")]
    assert timeline.calls[1].first_token is None
    assert timeline.gaps == []  # no loop was running


def test_every_kind_of_thread():
    def on_its_own_loop():
        asyncio.run(waiter.ainvoke("loop"))

    async def work(_):
        threads = [
            threading.Thread(target=waiter.invoke, args=("thread",)),
            threading.Thread(target=on_its_own_loop),
        ]
        for thread in threads:
            thread.start()
        await asyncio.to_thread(waiter.invoke, "to_thread")
        for thread in threads:
            await asyncio.to_thread(thread.join)

    timeline = recorded(work)
    assert sorted(facts(timeline)) == [
        (label, 0, "done") for label in ("loop", "thread", "to_thread")
    ]


@pytest.mark.parametrize("sync_node", [True, False])
def test_a_graph_is_recorded_from_within(sync_node):
    def cook(state):
        return {"messages": [waiter.invoke(state["messages"])]}

    async def async_cook(state):
        return {"messages": [await waiter.ainvoke(state["messages"])]}

    node = cook if sync_node else async_cook
    graph = StateGraph(MessagesState).add_node("cook", node)
    graph = graph.add_edge(START, "cook").compile()
    order = {"messages": [("user", "soup")]}
    timeline = recorded(
        lambda _: read(graph.astream(order, stream_mode="messages"))
    )
    assert facts(timeline) == [("soup", 3, "done")]


def test_a_task_from_before_the_block_is_recorded():
    async def run():
        go = asyncio.Event()

        async def later():
            await go.wait()
            await waiter.ainvoke("later")

        task = asyncio.create_task(later())
        await asyncio.sleep(0)
        with Timeline() as timeline:
            go.set()
            await task
        return timeline

    assert facts(asyncio.run(run())) == [("later", 0, "done")]


def test_nested_timelines_both_record():
    with Timeline() as outer:
        waiter.invoke("first")
        with Timeline() as inner:
            waiter.invoke("second")
    assert [c.label for c in outer.calls] == ["first", "second"]
    assert [c.label for c in inner.calls] == ["second"]


def test_entered_again_it_starts_anew():
    timeline = Timeline()
    for name in "ab":
        with timeline:
            waiter.invoke(name)
    assert facts(timeline) == [("b", 0, "done")]


def test_nothing_listens_outside_of_a_timeline():
    handlers = []

    class Curious(Waiter):
        def _generate(self, messages, run_manager=None, **kwargs):
            handlers.append(len(run_manager.handlers))
            return super()._generate(messages)

    with Timeline() as timeline:
        Curious().invoke("in")
        with Timeline():
            Curious().invoke("in two")
    Curious().invoke("out")
    assert handlers == [1, 1, 0]
    assert len(timeline.calls) == 2


def test_a_timeline_may_end_while_another_thread_begins_a_call(monkeypatch):
    """LangChain asks twice, and the answer may change in between."""
    answers = iter([_active._recorder])
    with Timeline():
        monkeypatch.setattr(_active, "get", lambda: next(answers, None))
        assert waiter.invoke("x").text == "one two three"


def test_an_error_in_the_block_passes_and_ends_the_timeline():
    with pytest.raises(ValueError, match="trouble"), Timeline() as timeline:
        waiter.invoke("trouble")
    assert facts(timeline) == [("trouble", 0, "error")]
    assert _active.timelines == ()


# How calls end. The waits are for what was recorded, never for a time.


async def calls(timeline: Timeline, count: int, tokens: int = 0) -> None:
    """Wait until so many calls began, and the last has so many tokens."""
    last = count - 1
    while len(timeline.calls[last:]) == 0:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    while len(timeline.calls[last].tokens) < tokens:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    await asyncio.sleep(STEP)


async def cancelled(work, until) -> None:
    task = asyncio.create_task(work)
    await until
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def timed_out(work, until) -> None:
    async def expire(scope):
        await until
        scope.reschedule(0)

    with suppress(TimeoutError):
        async with asyncio.timeout(None) as scope:
            expiry = asyncio.create_task(expire(scope))
            await work
    await expiry


async def left(stream) -> None:
    """Leave a stream after the first word."""
    async with aclosing(stream):
        async for chunk in stream:
            if (chunk[0] if isinstance(chunk, tuple) else chunk).text:
                break


class Stuck(Waiter):
    """Says one word, if it streams, and then no more."""

    async def _agenerate(self, messages, stop=None, run_manager=None, **kw):
        await asyncio.sleep(60)

    async def _astream(self, messages, stop=None, run_manager=None, **kw):
        yield ChatGenerationChunk(message=AIMessageChunk("one "))
        await asyncio.sleep(60)


stuck = Stuck()


@pytest.mark.parametrize("leave", [cancelled, timed_out])
def test_cut_off_though_langchain_reports_nothing(leave):
    """``ainvoke`` fires no callback at all when it is cancelled."""
    timeline = recorded(lambda t: leave(stuck.ainvoke("x"), calls(t, 1)))
    assert facts(timeline) == [("x", 0, "cut off")]
    assert timeline.calls[0].end <= timeline.took


def test_cut_off_with_somebody_elses_callbacks():
    """They run in tasks of their own before the model does."""

    class Other(AsyncCallbackHandler):
        async def on_chat_model_start(self, *args, **kwargs):
            await asyncio.sleep(STEP / 2)

    config = {"callbacks": [Other(), Other()]}
    timeline = recorded(
        lambda t: timed_out(stuck.ainvoke("x", config), calls(t, 1))
    )
    assert facts(timeline) == [("x", 0, "cut off")]


def test_cut_off_in_the_moment_of_the_answer():
    class Late(Waiter):
        async def _agenerate(self, messages, stop=None, run_manager=None, **k):
            asyncio.get_running_loop().call_soon(callers[0].cancel)
            return self._generate(messages)

    callers = []

    async def work(timeline):
        callers.append(asyncio.create_task(Late().ainvoke("x")))
        await asyncio.wait(callers)
        assert callers[0].cancelled()
        await asyncio.sleep(0)

    assert facts(recorded(work)) == [("x", 0, "cut off")]


def test_cut_off_streams():
    async def work(timeline):
        await cancelled(read(stuck.astream("cancel")), calls(timeline, 1, 1))
        await left(waiter.astream("aclosing"))
        for _ in waiter.stream("sync"):
            break

    assert facts(recorded(work)) == [
        ("cancel", 1, "cut off"),
        ("aclosing", 1, "cut off"),
        ("sync", 0, "cut off"),
    ]


def test_what_is_open_at_the_end_stays_open():
    async def run():
        with Timeline() as timeline:
            task = asyncio.create_task(read(stuck.astream("x")))
            await calls(timeline, 1, 1)
        task.cancel()
        await asyncio.wait([task])
        return timeline

    timeline = asyncio.run(run())
    assert facts(timeline) == [("x", 1, "still open")]
    assert timeline.calls[0].end is None


def test_each_call_of_a_task_has_its_own_end():
    async def both():
        await waiter.ainvoke("first")
        await stuck.ainvoke("second")

    async def work(timeline):
        await timed_out(both(), calls(timeline, 2))
        await cancelled(both(), calls(timeline, 4))

    outcomes = [outcome for _, _, outcome in facts(recorded(work))]
    assert outcomes == ["done", "cut off"] * 2


def test_chat_openai_in_a_graph_cut_off_at_every_stage():
    model = practice_model()
    order = {"messages": [("user", "Tell me about soup.")]}

    async def work(timeline):
        llm = ChatOpenAI(
            model=model.name,
            base_url=model.base_url,
            api_key=model.key,
            http_async_client=openai.DefaultAsyncHttpxClient(),
        )

        async def cook(state):
            return {"messages": [await llm.ainvoke(state["messages"])]}

        graph = StateGraph(MessagesState).add_node("cook", cook)
        graph = graph.add_edge(START, "cook").compile()

        def stream():
            return graph.astream(order, stream_mode="messages")

        model.pace(ttft=30)
        await cancelled(llm.ainvoke("x"), calls(timeline, 1))
        await timed_out(read(stream()), calls(timeline, 2))
        model.pace(ttft=0.01, per_token=0.02)
        await cancelled(read(stream()), calls(timeline, 3, 1))
        await left(stream())
        await read(stream())

    timeline = recorded(work)
    outcomes = [outcome for _, _, outcome in facts(timeline)]
    assert outcomes == [*["cut off"] * 4, "done"]
    tokens = [count for _, count, _ in facts(timeline)]
    assert tokens[:2] == [0, 0]
    assert 0 < tokens[3] < tokens[4]
    assert timeline.peak == 1


# Event-loop gaps


def test_a_blocked_loop_leaves_a_gap_and_a_free_one_none():
    async def blocked(_):
        await asyncio.sleep(STEP)
        hold()
        await asyncio.sleep(STEP)

    async def free(_):
        await asyncio.sleep(STEP)

    timeline = recorded(blocked)
    longest = max(timeline.gaps, key=lambda gap: gap.length)
    assert longest.length >= HELD
    assert 0 < longest.start < timeline.took - longest.length
    assert sum(gap.length for gap in recorded(free).gaps) < HELD


def test_a_gap_that_reaches_the_end_counts():
    async def work(_):
        hold()

    timeline = recorded(work)
    assert [gap.length >= HELD for gap in timeline.gaps] == [True]


def test_heartbeat():
    async def run(busy):
        async with Heartbeat() as heart:
            if busy:
                hold()
            else:
                await asyncio.sleep(20 * heart.every)
        return heart

    free, held = asyncio.run(run(busy=False)), asyncio.run(run(busy=True))
    assert free.beats > 0
    assert held.beats == 0
    assert held.missed >= HELD / held.every - 1 > free.missed
    assert held.longest >= HELD
    assert len(held.gaps) == 1
    assert DURATION.sub("#", str(free)) == DURATION.sub("#", str(held))
    with pytest.raises(RuntimeError, match="no running event loop"):
        Heartbeat().__enter__()


# In words


def test_the_words_of_a_run():
    async def work(timeline):
        await asyncio.gather(*(read(waiter.astream(n)) for n in ("a", "b")))
        await cancelled(stuck.ainvoke("c"), calls(timeline, 3))

    assert masked(recorded(work)) == [
        "3 calls, at most 2 in flight, 6 tokens, took # s",
        "a: waited # s, streamed 3 tokens in # s, done",
        "b: waited # s, streamed 3 tokens in # s, done",
        "c: waited # s, cut off",
        "event loop: longest gap # s",
    ]


def test_the_words_of_one_call_and_of_none():
    with Timeline() as one:
        waiter.invoke("x")
    with Timeline() as none:
        pass
    assert masked(one) == [
        "1 call, at most 1 in flight, nothing streamed, took # s",
        "x: waited # s, done",
    ]
    assert masked(none) == ["no model call started within # s"]
    shown = DURATION.sub("# s", repr(none))
    assert shown == "<Timeline: no model call started within # s>"


def test_words_keep_their_order_when_threads_do_not():
    spans = [("z", 0, 1), ("t 10", 2, 5), ("t 9", 2.1, 3), ("a", 6, 7)]
    calls = [finished(start, end, label=name) for name, start, end in spans]
    lines = str(drawn(calls)).splitlines()[1:]
    assert [line.split(":")[0] for line in lines] == ["z", "t 9", "t 10", "a"]


def test_labels():
    long = "Which of these many soups do you like?"
    human = [("user", long), ("ai", "hm"), ("user", "a\n b\x1b\ud800 ")]
    with Timeline() as timeline:
        for prompt in long, human, [("system", "be kind")], "":
            waiter.invoke(prompt)
    labels = [call.label for call in timeline.calls]
    assert labels == ["Which of these many sou…", "a b", "call 3", "call 4"]
    assert timeline.names == labels


def test_names_say_what_differs():
    begin = "Tell me at great length about the"
    with Timeline() as timeline:
        for end in "owls", "bees", "bees":
            waiter.invoke(f"{begin} {end}")
        for prompt in "Hello", "Hello", "Bye":
            waiter.invoke(prompt)
    names = ["… owls", "… bees · 1", "… bees · 2"]
    names += ["Hello · 1", "Hello · 2", "Bye"]
    assert timeline.names == names
    assert [line.split(":")[0] for line in masked(timeline)[1:]] == names
    assert set(names) <= set(texts(picture(timeline.html())))


# In pictures


def test_pictures_of_all_sizes():
    one = drawn([finished(0, 1)])
    many = drawn([finished(i / 9, i / 9 + 1) for i in range(50)])
    chatty = drawn([finished(0, 60, tokens=3000)])
    ends = ["done", "cut off", "error", "still open"]
    mixed = drawn([finished(0, 1, outcome=end) for end in ends])
    pictures = [
        picture(t.html("t")) for t in (one, many, chatty, mixed, Timeline())
    ]
    assert all(map(inside, pictures))
    assert set(ends) <= set(texts(pictures[3]))
    height = [float(p.get("viewBox").split()[3]) for p in pictures]
    assert height[0] < height[1] < 900


def test_a_picture_has_no_background_and_can_be_read_on_any():
    def light(color: str) -> float:
        parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [
            p / 12.92 if p <= 0.04 else ((p + 0.055) / 1.055) ** 2.4
            for p in parts
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(a: str, b: str) -> float:
        low, high = sorted([light(a), light(b)])
        return (high + 0.05) / (low + 0.05)

    timeline = drawn([finished(0, 1)])
    svg = picture(timeline.html())
    assert max(float(e.get("width", 0)) for e in svg) < 700
    for page in "#ffffff", "#111111":
        assert contrast(INK, page) > 4.3
        assert contrast(BLOCKED, page) > 3
        assert contrast(STREAMING, page) > 3


def test_a_blocked_loop_is_drawn_and_said():
    async def blocked(_):
        await waiter.ainvoke("x")
        hold()

    assert "event loop blocked" in texts(picture(recorded(blocked).html()))
    assert "event loop blocked" not in texts(
        picture(drawn([finished(0, 1)]).html())
    )


@pytest.mark.parametrize(
    "text",
    [
        "$",
        "$x^{$ \\frac",
        "soup \U0001f35c",
        "\u05e9\u05dc\u05d5\u05dd",
        "<script>\nalert(1)",
        "%s",
    ],
)
def test_pictures_of_any_text(text):
    svg = picture(drawn([finished(0, 1, label=text)]).html(text * 9))
    assert inside(svg)
    assert not [e for e in svg.iter() if "script" in e.tag]


def test_in_a_notebook_picture_alt_text_and_words():
    InteractiveShell.instance()
    try:
        timeline = drawn([finished(0, 1, label="<b>")])
        with capture_output() as shown:
            assert timeline.plot("Soup") is None
            Timeline.compare({"one": timeline, "two": timeline}, "Both")
    finally:
        InteractiveShell.clear_instance()
    one, both = (output.data for output in shown.outputs)
    picture(one["text/html"])
    assert one["text/plain"] == str(timeline)
    assert (
        'alt="Timeline. Soup. 1 call, at most 1 in flight, 3 tokens, took '
        '1.00 s" width="800" style'
    ) in one["text/html"]
    assert "<pre>1 call" in one["text/html"]
    assert "&lt;b&gt;: waited" in one["text/html"]
    assert both["text/plain"] == f"one: {timeline}\ntwo: {timeline}"
    assert ". one: 1 call" in both["text/html"]


def test_as_the_last_line_of_a_cell():
    timeline = drawn([finished(0, 1)])
    data = timeline._repr_mimebundle_()
    picture(data["text/html"])
    assert data["text/plain"] == str(timeline)


def test_two_runs_are_equal_for_nbval():
    def once() -> dict[str, str]:
        return recorded(lambda _: waiter.ainvoke("x"))._repr_mimebundle_()

    first, second = once(), once()
    assert first["text/html"] != second["text/html"]
    assert masked_for_nbval(first) == masked_for_nbval(second)


def test_outside_of_a_notebook_it_prints(capsys):
    timeline = drawn([finished(0, 1)])
    timeline.plot("t")
    assert capsys.readouterr().out == f"{timeline}\n"


def test_an_html_picture_has_words_for_those_who_cannot_see_it() -> None:
    timeline = drawn([finished(0, 1, label="Table 1")])
    image = timeline.html('<b> & "title"')
    assert image.count("<") == 1
    assert "1 call, at most 1 in flight" in image
