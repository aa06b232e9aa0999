"""The prompt is obeyed: what other people's graphs ask, and what they need.

Each case stands for its kind, and was met in a notebook or in a client.
"""

import json

import pytest
from practice_client import chat, fast_model, send
from test_practice_answers import (
    ADD,
    MULTIPLY,
    SEARCH,
    TEXT,
    WEATHER,
    ask,
    calls,
    offer,
    one,
    say,
)

from workshop.practice import answers, tools
from workshop.practice.ask import Ask, Call, Tool, Turn

TO_MATH = offer("transfer_to_math_expert", "Ask agent 'math_expert' for help")
TO_POET = offer("transfer_to_poet", "Ask agent 'poet' for help")
HUMAN = offer("ask_human", "Ask the user a question.", question=TEXT)
REVIEW = offer("review", "Review an answer.", text=TEXT)


def user(text, name=""):
    return Turn("user", text, name=name)


def called(name, arguments, result, id="c1"):
    """A call and its result, as two turns."""
    call = Call(name, json.dumps(arguments), id)
    return Turn("assistant", "", (call,)), Turn("tool", result, call_id=id)


def answer(*turns, tools=(), **options):
    """The names of the calls, or the text, that comes next."""
    reply = answers.reply(Ask(turns, tuple(tools), **options))
    return [c.name for c in reply.calls] or "".join(reply.tokens)


# Tools


def test_a_call_that_a_human_edited_is_done():
    turns = (
        user("What is the weather in sf?"),
        *called("get_weather", {"city": "San Francisco, CA"}, "Sunny."),
    )
    assert "Sunny" in answer(*turns, tools=[WEATHER])


def test_of_two_calls_only_the_one_that_is_missing_is_made():
    turns = (
        user("weather in Paris and in Rome"),
        *called("get_weather", {"city": "Paris, France"}, "Rain."),
    )
    made = calls(Ask(turns, (WEATHER,), parallel=False))
    assert made == one("get_weather", city="Rome")


@pytest.mark.parametrize(
    "prompt",
    ["what is the weather in sf", "Who won the world cup in 1998?"],
)
def test_a_search_tool_is_asked_for_what_nobody_knows_here(prompt):
    assert answer(user(prompt), tools=[SEARCH]) == ["search_web"]


@pytest.mark.parametrize(
    "prompt", ["Hi there", "What is LangGraph?", "My name is Ada.", "Thanks!"]
)
def test_a_search_tool_is_left_alone_for_the_rest(prompt):
    assert answer(user(prompt), tools=[SEARCH]) != ["search_web"]


def test_a_tool_that_extracts_is_called_when_all_is_there():
    parts = {"name": TEXT, "age": {"type": "integer"}}
    schema = {"type": "object", "properties": parts, "required": [*parts]}
    person = Tool("Person", "", schema)
    made = calls(ask("Jason is 25 years old", person))
    assert made == [("Person", {"name": "Jason", "age": 25})]
    assert calls(ask("Hello", person)) == []


@pytest.mark.parametrize(
    ("prompt", "result", "then"),
    [
        ("Add 3 and 4. Multiply the output by 2.", "7", {"a": 7, "b": 2}),
        ("Add 3 and 4, then multiply that by 2.", "7", {"a": 7, "b": 2}),
    ],
)
def test_one_result_feeds_the_next_call(prompt, result, then):
    offered = (ADD, MULTIPLY)
    assert calls(ask(prompt, *offered)) == one("add", a=3, b=4)
    turns = (user(prompt), *called("add", {"a": 3, "b": 4}, result))
    assert calls(Ask(turns, offered)) == [("multiply", then)]


def test_a_result_of_the_turn_before_feeds_a_call():
    turns = (
        user("Add 3 and 4."),
        *called("add", {"a": 3, "b": 4}, "7"),
        Turn("assistant", "The result of add is 7."),
        user("Multiply that by 2."),
    )
    assert calls(Ask(turns, (ADD, MULTIPLY))) == one("multiply", a=7, b=2)


def test_a_result_with_quotes_feeds_the_next_call_whole():
    result = '[{"title": "Soup", "url": "x"}]'
    prompt = "Search the web for soup, then review the result"
    turns = (user(prompt), *called("search_web", {"query": "soup"}, result))
    [(name, arguments)] = calls(Ask(turns, (SEARCH, REVIEW)))
    assert name == "review"
    assert "title" in arguments["text"] and "Soup" in arguments["text"]


def test_what_has_to_wait_waits():
    prompt = "Ask the user where they are, then look up the weather there"
    assert [n for n, _ in calls(ask(prompt, HUMAN, WEATHER))] == ["ask_human"]
    turns = (
        user(prompt),
        *called("ask_human", {"question": "where they are"}, "Oslo"),
    )
    made = calls(Ask(turns, (HUMAN, WEATHER)))
    assert made == one("get_weather", city="Oslo")


def test_a_transfer_is_no_search():
    flights = offer("transfer_to_flights", "Transfer to the flight-search.")
    assert answer(user("what's 5 + 7?"), tools=[flights]) != [flights.name]


@pytest.mark.parametrize(
    ("prompt", "first", "result", "then"),
    [
        ("what's (3 + 5) x 12?", ("add", 3, 5), "8", ("multiply", 8, 12)),
        ("What is 20+(2*4)?", ("multiply", 2, 4), "8", ("add", 20, 8)),
        ("What is 1 + 2 + 3?", ("add", 1, 2), "3", ("add", 3, 3)),
    ],
)
def test_a_sum_of_several_signs_is_done_in_steps(prompt, first, result, then):
    offered = (ADD, MULTIPLY)
    turns = (user(prompt),)
    for name, a, b in (first, then):
        assert calls(Ask(turns, offered)) == [(name, {"a": a, "b": b})]
        turns = (*turns, *called(name, {"a": a, "b": b}, result, f"c{a}"))
    assert calls(Ask(turns, offered)) == []


@pytest.mark.parametrize(
    ("helper", "result", "tool", "then"),
    [
        (offer("get_user_location", "Where the user is."), "Florida",
         offer("get_weather", "Weather of a city.", city=TEXT),
         {"city": "Florida"}),
        (offer("get_lat_lng", "Where a place is."), '{"lat": 5.5, "lng": -1}',
         offer("get_weather", "Weather.", lat={"type": "number"},
               lng={"type": "number"}), {"lat": 5.5, "lng": -1}),
    ],
)  # fmt: skip
def test_a_tool_finds_what_another_one_requires(helper, result, tool, then):
    prompt = user("what is the weather outside?")
    offered = (tool, helper)
    assert calls(Ask((prompt,), offered)) == [(helper.name, {})]
    turns = (prompt, *called(helper.name, {}, result))
    assert calls(Ask(turns, offered)) == [("get_weather", then)]


@pytest.mark.parametrize(
    ("told", "prompt", "arguments"),
    [
        ("First call the `spin` tool, then tell a joke.", "Hello", {}),
        ("Use the `spin` function to see who won.",
         "Put my money on square eighteen", {"square": 18}),
    ],
)  # fmt: skip
def test_a_tool_that_the_system_message_wants_is_called(
    told, prompt, arguments
):
    parts = {name: {"type": "integer"} for name in arguments}
    tool = offer("spin", "Spins the wheel.", **parts)
    turns = (Turn("system", told), user(prompt))
    [call] = answers.reply(Ask(turns, (tool,))).calls
    assert json.loads(call.arguments) == arguments


def test_calls_that_stand_in_texts_are_calls():
    made = [{"id": "c1", "type": "function",
             "function": {"name": "get_weather",
                          "arguments": {"city": "Rome"}}}]  # fmt: skip
    messages = [
        {"role": "user", "content": "New task: What is the weather in Rome?"},
        {"role": "assistant", "content": f"Calling tools:\n{made}"},
        {"role": "user", "content": "Observation:\nSunny in Rome"},
    ]
    body = chat("hi") | {"messages": messages}
    said = send(fast_model(), "POST", "/v1/chat/completions", body).json
    assert said["choices"][0]["message"]["content"] == "Sunny in Rome."


# Hand-offs


def test_who_can_only_hand_over_hands_over_what_nobody_knows():
    research = offer("transfer_to_research", "Ask the research agent.")
    question = user("what's the headcount of all companies?")
    assert answer(question, tools=[TO_MATH, research]) == [research.name]
    handed = called(TO_MATH.name, {}, "Transferred.")
    said = answer(question, *handed, tools=[TO_POET, research])
    assert isinstance(said, str)  # not back and forth for ever


def test_a_transfer_is_known_by_its_name():
    handed = called("transfer_to_math_tutor", {}, '{"assistant": "Tutor"}')
    said = answer(user("What is the capital of France?"), *handed)
    assert said == "The capital of France is Paris."


def test_an_agent_that_repeats_itself_hands_on_once():
    said = Turn("assistant", "Seven.")
    turns = (user("Reply with only Seven."), said, said)
    assert answer(*turns, tools=[TO_POET]) == [TO_POET.name]
    handed = called(TO_POET.name, {}, "Transferred.")
    assert answer(turns[0], *handed, said, said, tools=[TO_POET]) == "Seven."


def test_who_was_asked_for_says_hello():
    handed = called(TO_POET.name, {}, "Successfully transferred to poet")
    assert answer(user("I'd like to speak to Bob"), *handed)[:6] == "Hello!"


@pytest.mark.parametrize(
    "told",
    [
        'When all is complete, end with "TERMINATE".',
        "Respond with 'TERMINATE' when the feedback is addressed.",
    ],
)
def test_a_team_ends_with_the_mark_that_it_was_told(told):
    system, task = Turn("system", told), user("Where is Rome?", "user")
    assert "TERMINATE" not in answer(system, task)
    done = answer(system, task, user("In Italy.", "web"))
    assert done == "In Italy. TERMINATE"


def test_a_transfer_goes_alone():
    prompt = "What is 3 plus 4, and ask the poet for a rhyme"
    made = [n for n, _ in calls(ask(prompt, ADD, TO_MATH, TO_POET))]
    assert made == ["add"] or len(made) == 1


def test_after_a_hand_off_the_next_agent_answers():
    handed = called(
        "transfer_to_history_expert",
        {},
        "Successfully transferred to history_expert",
    )
    said = answer(user("What is the capital of France?"), *handed)
    assert said == "The capital of France is Paris."


def test_after_a_hand_off_the_next_agent_uses_its_tools():
    handed = called(
        TO_MATH.name, {}, "Successfully transferred to math_expert"
    )
    turns = (user("what's 3 + 4?"), *handed)
    assert answer(*turns, tools=[ADD]) == ["add"]


def test_a_supervisor_ends_when_its_agent_has_answered():
    back = called(
        "transfer_back_to_supervisor",
        {},
        "Successfully transferred back to supervisor",
        id="c2",
    )
    turns = (
        user("what's 3 + 4?"),
        *called(TO_MATH.name, {}, "Successfully transferred to math_expert"),
        Turn("assistant", "It is 7.", name="math_expert"),
        *back,
    )
    assert answer(*turns, tools=[TO_MATH, TO_POET]) == "It is 7."


# Choices


def route(*choices, name="next"):
    return {
        "type": "object",
        "properties": {name: {"type": "string", "enum": [*choices]}},
        "required": [name],
    }


def chosen(*turns, schema, **options):
    return json.loads(answer(*turns, schema=schema, **options))["next"]


@pytest.mark.parametrize(
    "reported",
    [user("It is 7.", "coder"), Turn("assistant", "It is 7.", name="coder")],
)
def test_a_router_ends_when_a_worker_has_answered(reported):
    schema = route("researcher", "coder", "FINISH")
    question = user("Let the coder compute 3 + 4")
    assert chosen(question, schema=schema) == "coder"
    assert chosen(question, reported, schema=schema) == "FINISH"


@pytest.mark.parametrize(
    ("choices", "prompt", "value"),
    [
        (("weather", "other"), "hi!", "other"),
        (("yes", "no"), "Is the sky green?", "no"),
        (("search", "__end__"), "thank you", "__end__"),
    ],
)
def test_a_choice_that_nobody_named(choices, prompt, value):
    assert chosen(user(prompt), schema=route(*choices)) == value


def test_a_graph_that_asks_the_same_for_ever_comes_to_its_end():
    model = fast_model()
    schema = route("again", "more", name="next")
    form = {"type": "json_schema"}
    form["json_schema"] = {"name": "route", "schema": schema}
    got = set()
    for _ in range(13):
        body = chat("Go on, once again", response_format=form)
        reply = send(model, "POST", "/v1/chat/completions", body).json
        text = reply["choices"][0]["message"]["content"]
        got.add(json.loads(text)["next"])
    assert got == {"again", "more"}


def test_categories_in_a_prompt():
    prompt = (
        "Classify the message into one of these categories: Technical, "
        "Billing, General.\nMessage: {}"
    )
    assert say(prompt.format("My billing address changed")) == "Billing"
    assert say(prompt.format("Good morning")) == "General"


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("Answer yes or no: is the sky green?", "no"),
        ("Reply with only the word BLUE", "BLUE"),
    ],
)
def test_plain_instructions(prompt, text):
    assert say(prompt) == text


def test_a_marker_that_ends_a_team_is_written():
    system = Turn(
        "system",
        "If you have the final answer, prefix your response with FINAL "
        "ANSWER so the team knows to stop.",
    )
    said = answer(system, user("What is the capital of France?"))
    assert said.startswith("FINAL ANSWER")


def test_the_no_answer_text_is_not_quoted_in_itself():
    first = say("Why is the sky blue?")
    assert first not in say(first)
    assert "know no answer" not in say(first)


# JSON that the prompt describes

INSTRUCTIONS = (
    "The output should be formatted as a JSON instance that conforms to the "
    "JSON schema below.\n\nAs an example, for the schema "
    '{"properties": {"foo": {"type": "array", "items": {"type": "string"}}},'
    ' "required": ["foo"]}\nthe object {"foo": ["bar"]} is well-formatted.'
    "\n\nHere is the output schema:\n```\n"
    '{"properties": {"name": {"type": "string"}, "age": {"type": "integer"}},'
    ' "required": ["name", "age"]}\n```'
)


@pytest.mark.parametrize(
    ("prompt", "value"),
    [
        (f"Answer the query.\n{INSTRUCTIONS}\nJason is 25",
         {"name": "Jason", "age": 25}),
        ("Return JSON with keys 'name' and 'age'. Jason is 25",
         {"name": "Jason", "age": "25"}),
        ("Return a JSON object with the keys name and city: Ada, in Rome",
         {"name": "Ada", "city": "Rome"}),
        ('Reply as JSON like {"name": "...", "age": 1}. Ada is 36.',
         {"name": "Ada", "age": 36}),
    ],
)  # fmt: skip
def test_a_schema_in_the_prompt_is_followed(prompt, value):
    assert json.loads(say(prompt)) == value
    assert json.loads(answer(user(prompt), schema={})) == value


def test_a_schema_in_the_system_message_is_followed():
    system = Turn("system", INSTRUCTIONS)
    said = answer(system, user("Jason is 25 years old"))
    assert json.loads(said) == {"name": "Jason", "age": 25}


def test_json_is_no_person():
    schema = {"type": "object", "properties": {"name": TEXT}}
    schema["required"] = ["name"]
    said = answer(user("Answer in JSON: Jason is 25"), schema=schema)
    assert json.loads(said) == {"name": "Jason"}


def test_json_after_a_tool_is_made_from_its_result():
    schema = {"type": "object", "properties": {"degrees": {"type": "number"}}}
    schema["required"] = ["degrees"]
    turns = (
        user("How many degrees are there in Rome, in the next 3 days?"),
        *called("get_weather", {"city": "Rome"}, "Sunny, 21 degrees"),
    )
    said = answer(*turns, tools=[WEATHER], schema=schema)
    assert json.loads(said) == {"degrees": 21}


@pytest.mark.parametrize(
    ("prompt", "schema", "value"),
    [
        ("I absolutely love this product!",
         {"enum": ["positive", "negative", "neutral"]}, "positive"),
        ("Alice and Bob go to a fair on Friday.",
         {"type": "array", "items": TEXT}, ["Alice", "Bob"]),
        ("Contact: John, (555) 123-4567", "phone", "(555) 123-4567"),
        ("Provide details about the movie Inception", "title", "Inception"),
        ("look up user 123", "user_id", "123"),
        ("The box is 10x20x30", {"type": "array",
         "items": {"type": "integer"}}, [10, 20, 30]),
        ("What is the meaning of life?", "is_homework", False),
        ("Help me with my homework", "is_homework", True),
        ("Have a look", "is_valid", True),
    ],
)  # fmt: skip
def test_values_that_people_extract(prompt, schema, value):
    name = "value"
    if isinstance(schema, str):
        flag = {"type": "boolean"} if schema[:3] == "is_" else TEXT
        name, schema = schema, flag
    whole = {"properties": {name: schema}, "required": [name]}
    said = answer(user(prompt), schema={"type": "object", **whole})
    assert json.loads(said) == {name: value}


def test_values_that_commas_separate():
    said = say("List five dishes. Answer with comma separated values.")
    assert len(said.split(", ")) == 5


# What was said


@pytest.mark.parametrize(
    "turn",
    [
        user("hi! I'm bob"),
        user("Hello, my name is Bob."),
        Turn("system", "The user's name is Bob."),
        user("Here is a summary of the conversation:\n\nuser: hi! I'm bob"),
    ],
)
def test_a_name_is_remembered(turn):
    said = answer(turn, Turn("assistant", "Hi!"), user("What's my name?"))
    assert said == "Your name is Bob."


@pytest.mark.parametrize(
    "transcript",
    [
        "Human: hi! I'm bob\nAI: Hello!\nHuman: I like cats",
        '<message type="human">hi! I\'m bob</message>\n'
        '<message type="human">I like cats</message>',
    ],
)
def test_a_summary_keeps_the_facts(transcript):
    said = say(f"Summarize the conversation below.\n\n{transcript}")
    assert "bob" in said and "cats" in said


def test_a_summary_of_the_conversation_above():
    said = answer(
        user("hi! I'm bob"),
        Turn("assistant", "Nice to meet you, Bob."),
        user("Create a summary of the conversation above:"),
    )
    assert "bob" in said


def test_what_the_user_said_is_remembered():
    said = answer(
        user("I like to bike. I live in Oslo."),
        Turn("assistant", "Nice."),
        user("Where do I live?"),
    )
    assert "Oslo" in said and "bike" not in said


@pytest.mark.parametrize(
    "prompt",
    [
        "Answer from the context.\nQuestion: {}\nContext: {}\nAnswer:",
        "Use these documents.\nDocuments:\n{1}\nQuestion: {0}\nAnswer:",
        "Use the following pieces of context to answer.\n\n{1}\n\n"
        "Question: {0}\nHelpful Answer:",
    ],
)
def test_a_question_about_a_context_is_answered_from_it(prompt):
    known = "The dog barks. The cat sleeps on the red sofa."
    said = say(prompt.format("Where does the cat sleep?", known))
    assert said == "The cat sleeps on the red sofa."


def test_two_turns_of_a_user_both_count():
    schema = {"type": "object", "properties": {"name": TEXT, "city": TEXT}}
    schema["required"] = ["name", "city"]
    said = answer(
        user("My name is Ada."), user("I live in Rome."), schema=schema
    )
    assert json.loads(said) == {"name": "Ada", "city": "Rome"}


@pytest.mark.parametrize("word", ["train", "brain", "retranslate"])
def test_a_word_inside_another_word_is_not_meant(word):
    assert "jacket" not in say(f"A {word} in Rome")
    assert "speak only" not in say(f"A {word} in Rome")


def test_a_tool_is_not_offered_twice_for_one_wish():
    tool = Tool("magic", "Does magic.", {})
    assert len(tools.choose(ask("Do magic", tool), {})) == 1
