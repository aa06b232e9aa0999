"""Real clients from their own packages, run on the practice model.

Each test is an example as its documentation has it.
"""

import openai
import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    HumanInTheLoopMiddleware,
    SummarizationMiddleware,
)
from langchain_core.output_parsers import (
    JsonOutputParser,
    PydanticOutputParser,
)
from langchain_core.prompts import PromptTemplate
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from langgraph_supervisor import create_supervisor
from practice_client import fast_model, send
from pydantic import BaseModel, Field
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider


@pytest.fixture
def model():
    return fast_model()


@pytest.fixture(params=["chat", "responses"])
def llm(model, request):
    return ChatOpenAI(
        model="gpt-4o",
        base_url=model.base_url,
        api_key=model.key,
        max_retries=0,
        use_responses_api=request.param == "responses",
        http_client=openai.DefaultHttpxClient(verify=False),
        http_async_client=openai.DefaultAsyncHttpxClient(verify=False),
    )


class Joke(BaseModel):
    """A joke to tell."""

    setup: str = Field(description="question to set up a joke")
    punchline: str = Field(description="answer to resolve the joke")


class Person(BaseModel):
    name: str
    age: int


class Answer(BaseModel):
    answer: str
    justification: str


def get_weather(city: str) -> str:
    """Get the weather in a city."""
    return f"It is sunny in {city}."


def add(a: float, b: float) -> float:
    """Add two numbers."""
    return a + b


# langchain-openai


@pytest.mark.parametrize("parser", [PydanticOutputParser, JsonOutputParser])
def test_output_parsers(llm, parser):
    parser = parser(pydantic_object=Joke)
    prompt = PromptTemplate(
        template="Answer the user query.\n{format_instructions}\n{query}\n",
        input_variables=["query"],
        partial_variables={
            "format_instructions": parser.get_format_instructions()
        },
    )
    joke = (prompt | llm | parser).invoke({"query": "Tell me a joke."})
    Joke.model_validate(joke if isinstance(joke, dict) else joke.model_dump())


@pytest.mark.parametrize(
    "method", ["json_schema", "function_calling", "json_mode"]
)
def test_structured_output(llm, method):
    structured = llm.with_structured_output(Person, method=method)
    prompt = "Return JSON with keys 'name' and 'age': Jason is 25."
    assert structured.invoke(prompt) == Person(name="Jason", age=25)


def test_json_mode_as_it_is_documented(llm):
    structured = llm.with_structured_output(Answer, method="json_mode")
    answer = structured.invoke(
        "Answer the following question. Make sure to return a JSON blob with "
        "keys 'answer' and 'justification'.\n\nWhat's heavier a pound of "
        "bricks or a pound of feathers?"
    )
    assert answer.answer and answer.justification


def test_a_refusal_and_an_answer_that_is_cut_are_errors(llm, model):
    structured = llm.with_structured_output(Person, method="json_schema")
    for kind, said in ("refusal", "can't help"), ("length", "(?i)length|EOF"):
        model.fault(kind)
        with pytest.raises(Exception, match=said):
            structured.invoke("Jason is 25.")


def test_a_summary_keeps_what_the_agent_must_know(llm):
    middleware = SummarizationMiddleware(
        model=llm, trigger=("messages", 4), keep=("messages", 1)
    )
    agent = create_agent(
        llm, tools=[], middleware=[middleware], checkpointer=InMemorySaver()
    )
    config = {"configurable": {"thread_id": "1"}}
    prompts = (
        "hi! I'm bob",
        "What is LangGraph?",
        "What is the capital of France?",
        "what's my name?",
    )
    for prompt in prompts:
        ask = {"messages": [("user", prompt)]}
        state = agent.invoke(ask, config)
    assert "Bob" in state["messages"][-1].text
    assert "summary" in state["messages"][0].text


def test_a_call_that_a_human_edits(llm):
    agent = create_agent(
        llm,
        tools=[get_weather],
        middleware=[HumanInTheLoopMiddleware({"get_weather": True})],
        checkpointer=InMemorySaver(),
    )
    config = {"configurable": {"thread_id": "1"}}
    ask = {"messages": [("user", "What is the weather in sf?")]}
    agent.invoke(ask, config)
    action = {"name": "get_weather", "args": {"city": "San Francisco, CA"}}
    decision = {"type": "edit", "edited_action": action}
    state = agent.invoke(Command(resume={"decisions": [decision]}), config)
    last = state["messages"][-1]
    assert "San Francisco, CA" in last.text
    assert "__interrupt__" not in state


def test_an_agent_with_an_answer_in_a_form(llm):
    agent = create_agent(llm, tools=[get_weather], response_format=Person)
    ask = {"messages": [("user", "Jason is 25. What is the weather in Rome?")]}
    assert agent.invoke(ask)["structured_response"].age == 25


# langgraph-supervisor


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_supervisor_with_two_agents(llm, model):
    math = create_agent(llm, tools=[add], name="math_expert")
    weather = create_agent(llm, tools=[get_weather], name="weather_expert")
    team = create_supervisor(
        [math, weather], model=llm, prompt="You manage two experts."
    ).compile()
    with model.meter() as meter:
        ask = {"messages": [("user", "What is 3 plus 4?")]}
        state = team.invoke(ask, {"recursion_limit": 40})
    last = state["messages"][-1].text
    assert "7" in last
    assert "transferred" not in last
    assert meter.requests <= 5


# pydantic-ai


@pytest.mark.parametrize("api", [OpenAIChatModel, OpenAIResponsesModel])
def test_pydantic_ai(model, api):
    client = openai.AsyncOpenAI(
        base_url=model.base_url,
        api_key=model.key,
        http_client=openai.DefaultAsyncHttpxClient(verify=False),
    )
    chosen = api("gpt-4o", provider=OpenAIProvider(openai_client=client))
    agent = Agent(chosen, tools=[get_weather])
    said = agent.run_sync("What is the weather in Rome?").output
    assert said == "It is sunny in Rome."
    person = Agent(chosen, output_type=Person).run_sync("Jason is 25.").output
    assert person == Person(name="Jason", age=25)
    people = Agent(chosen, output_type=list[Person])
    both = people.run_sync("Jason is 25 and Sarah is 30 years old.").output
    assert [one.name for one in both] == ["Jason", "Sarah"]


# openai


def test_the_parse_helpers_of_openai(model):
    with openai.OpenAI(
        base_url=model.base_url,
        api_key=model.key,
        http_client=openai.DefaultHttpxClient(verify=False),
    ) as client:
        messages = [{"role": "user", "content": "Jason is 25 years old."}]
        person = client.chat.completions.parse(
            model="gpt-4o", messages=messages, response_format=Person
        )
        assert person.choices[0].message.parsed.age == 25
        person = client.responses.parse(
            model="gpt-4o", input="Jason is 25.", text_format=Person
        )
        assert person.output_parsed.name == "Jason"
        answer = client.chat.completions.create(
            model="gpt-4o", messages=messages, logprobs=True, n=2
        )
        assert answer._request_id.startswith("req_")
        for choice in answer.choices:
            tokens = [one.token for one in choice.logprobs.content]
            assert "".join(tokens) == choice.message.content
        model.fault("length")
        with pytest.raises(openai.LengthFinishReasonError):
            client.chat.completions.parse(
                model="gpt-4o", messages=messages, response_format=Person
            )


def test_a_page_of_another_origin_is_let_in_only_if_asked(model):
    answer = send(model, "GET", "/v1/models")
    assert "access-control-allow-origin" not in answer.headers
    from test_practice_server import alone

    with alone("--allow-origin", "http://localhost:3000") as server:
        for method in ("OPTIONS", "GET"):
            answer = send(server, method, "/v1/models")
            allowed = answer.headers["access-control-allow-origin"]
            assert allowed == "http://localhost:3000"
