"""Any compiled graph with `messages` works in the service."""

from __future__ import annotations

from typing import Any

import pytest

from tests import agents, test_service
from tests.service import text_of

pytestmark = pytest.mark.timeout(240)
at, store = test_service.at, test_service.store
LONG, NAME, PRICE = test_service.LONG, test_service.NAME, test_service.PRICE
ANSWER = "I am the practice model: I answer from a file, token by token."
NO = "I do not talk about that."


def names(events: list[Any]) -> list[str]:
    """The events' names, each row of tokens as one."""
    found: list[str] = []
    for event in events:
        if event.name != "token" or found[-1:] != ["token"]:
            found.append(event.name)
    return found


@pytest.mark.parametrize(
    "agent",
    [
        *("other_names", "dotted", "commanding", "remembering", "drafting"),
        *("summing_up", "sub_graph", "static", "guarded"),
    ],
)
async def test_it_streams_its_answer_and_nothing_else(at, agent: str) -> None:
    """Four turns, so that what sums up has something to sum up."""
    async with at(agent=getattr(agents, agent)) as p:
        for number in range(1, 5):
            events = await p.client.ask(NAME)
            assert text_of(events) == ANSWER
            assert sum(event.name == "token" for event in events) > 5
            assert events[-1].data["outcome"] == "complete"
            assert await p.client.said() == [NAME, ANSWER] * number


@pytest.mark.parametrize(
    "agent", ["with_sub_agent", "streaming_inside", "sub_graph"]
)
async def test_agents_within_agents(at, agent: str) -> None:
    async with at(agent=getattr(agents, agent)) as p:
        events = await p.client.ask(PRICE)
        assert names(events) == ["start", "tool", "token", "done"]
        assert text_of(events).startswith("The result of price is")
        assert await p.client.said() == [PRICE, text_of(events)]


@pytest.mark.parametrize("agent", ["static", "guarded"])
async def test_an_answer_without_a_model(at, agent: str) -> None:
    async with at(agent=getattr(agents, agent)) as p:
        events = await p.client.ask("Tell me a secret")
        assert text_of(events) == NO
        assert events[-1].data["outcome"] == "complete"
        assert await p.client.said() == ["Tell me a secret", NO]
        assert text_of(await p.client.ask(NAME)) == ANSWER


async def test_a_node_that_changes_what_its_model_said(at) -> None:
    async with at(agent=agents.changing) as p:
        events = await p.client.ask(NAME)
        assert text_of(events) == ANSWER.upper()
        assert await p.client.said() == [NAME, ANSWER.upper()]


async def test_two_nodes_speak_one_after_the_other(at) -> None:
    async with at(agent=agents.two_answers) as p:
        text = text_of(await p.client.ask(NAME))
        both = ["this is speaker one.", "this is speaker two."]
        assert text in ("".join(both), "".join(reversed(both)))
        assert await p.client.said() == [NAME, text]


@pytest.mark.parametrize("agent", ["other_names", "sub_graph", "guarded"])
async def test_a_stop_whatever_the_nodes_are_called(at, agent: str) -> None:
    async with at(agent=getattr(agents, agent), resume_grace=60) as p:
        run, seen = await p.client.ask_and_leave(LONG, 5)
        assert (await p.client.delete(f"/runs/{run}")).status_code == 204
        seen = await p.client.resume(run, 0)
        assert seen[-1].data["outcome"] == "stopped"
        assert await p.client.said() == [LONG, text_of(seen)]
        # What it said and what was asked are there for the next question.
        asked = "What did I just say?"
        assert LONG in text_of(await p.client.ask(asked))


@pytest.mark.parametrize(
    "agent", ["raising", "raising_beside", "no_tools_node"]
)
async def test_a_call_without_a_result_breaks_nothing(at, agent: str) -> None:
    async with at(agent=getattr(agents, agent)) as p:
        for _ in range(2):
            answer = await p.client.post(
                "/threads/t/runs", json={"message": PRICE}
            )
            assert answer.status_code == 200
            if agent != "no_tools_node":
                assert '"code": "failed"' in answer.text
                assert "secret" not in answer.text
        events = await p.client.ask(NAME)
        if agent != "raising_beside":
            assert text_of(events) == ANSWER


@pytest.mark.parametrize(
    ("agent", "text", "shown"),
    [
        ("silent", "", ""),
        ("with_nul", ANSWER, ANSWER),
        ("with_a_lock", ANSWER, ANSWER),
        ("half_a_sign", "soup \ud83d", "soup \ufffd"),
    ],
)
async def test_what_cannot_be_kept_or_sent_breaks_nothing(
    at, agent: str, text: str, shown: str
) -> None:
    async with at(agent=getattr(agents, agent)) as p:
        turn = [NAME, shown] if shown else [NAME]
        for number in range(1, 3):
            events = await p.client.ask(NAME)
            assert text_of(events) == text
            failed = agent == "with_a_lock"
            assert events[-1].name == ("error" if failed else "done")
            assert await p.client.said() == turn * number


async def test_it_asks_a_human(at) -> None:
    async with at(agent=agents.asking) as p:
        nothing = await p.client.post(
            "/threads/t/answers", json={"answer": "yes"}
        )
        assert nothing.status_code == 409
        events = await p.client.ask(NAME)
        assert names(events) == ["start", "ask", "done"]
        (asked,) = events[1].data["asks"]
        assert asked["value"] == {"question": "Really?"}
        assert events[-1].data["outcome"] == "asked"
        thread = (await p.client.get("/threads/t")).json()
        assert thread["asks"] == [asked]
        events = await p.client.answer("yes")
        assert text_of(events) == "you said yes"
        assert events[-1].data["outcome"] == "complete"
        thread = (await p.client.get("/threads/t")).json()
        assert thread["asks"] is None
        assert await p.client.said() == [NAME, "yes", "you said yes"]


@pytest.mark.parametrize("way", ["approve", "reject", "something else"])
async def test_a_human_approves(at, way: str) -> None:
    async with at(agent=agents.approving) as p:
        events = await p.client.ask(PRICE)
        assert names(events) == ["start", "tool", "ask", "done"]
        if way == "something else":  # a way out
            assert text_of(await p.client.ask(NAME)) == ANSWER
            thread = (await p.client.get("/threads/t")).json()
            assert thread["asks"] is None
            return
        events = await p.client.answer({"decisions": [{"type": way}]})
        assert events[-1].data["outcome"] == "complete"
        assert text_of(events)
        assert text_of(await p.client.ask(NAME)) == ANSWER


@pytest.mark.parametrize(
    ("agent", "text"),
    [
        ("asking_twice", "yes and no"),
        ("asking_beside", "A human said yes. A human said no."),
    ],
)
async def test_it_asks_twice_in_one_run(at, agent: str, text: str) -> None:
    """One answer at a time; to answer once more the same changes nothing."""
    async with at(agent=getattr(agents, agent)) as p:
        await p.client.ask(NAME)
        p.client.headers["Idempotency-Key"] = "first"
        first = await p.client.answer("yes")
        assert first[-1].data["outcome"] == "asked"
        assert await p.client.answer("yes") == first
        p.client.headers["Idempotency-Key"] = "second"
        second = await p.client.answer("no")
        assert text_of(second) == text
        assert await p.client.answer("no") == second
        del p.client.headers["Idempotency-Key"]
        assert (await p.client.get("/threads/t")).json()["asks"] is None


async def test_a_stop_while_it_goes_on_after_an_answer(at) -> None:
    async with at(agent=agents.asking, resume_grace=60) as p:
        await p.client.ask(NAME)
        p.model.pace(per_token=0.2)
        answer = "a b c d e f g h i j k l m n"
        async with p.client.stream(
            "POST", "/threads/t/answers", json={"answer": answer}
        ) as response:
            run = response.headers["X-Run-Id"]
        await p.client.delete(f"/runs/{run}")
        seen = await p.client.resume(run, 0)
        assert seen[-1].data["outcome"] == "stopped"
        said = await p.client.said()
        assert said[:2] == [NAME, answer]
        assert "".join(said[2:]) == text_of(seen)


@pytest.mark.parametrize(
    ("agent", "why"),
    [
        ("tests.agents:no_messages", "no `messages`"),
        ("nowhere:at_all", "SERVICE_AGENT"),
    ],
)
async def test_what_cannot_work_is_told_at_the_start(
    tmp_path, agent: str, why: str
) -> None:
    from tests.service import Process
    from workshop.model import practice_model

    process = Process(practice_model(), tmp_path, agent=agent)
    with pytest.raises(AssertionError, match=why):
        process.start()
    assert "Traceback" not in process.said()
