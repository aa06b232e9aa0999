"""LangChain's own standard suites, run on the practice model.

They judge the wire: what ``ChatOpenAI`` and ``OpenAIEmbeddings`` make of
the server's answers, over both APIs, streamed and not, sync and async.

Left out, with the reason:

* ``ChatModelUnitTests``, ``EmbeddingsUnitTests``: they construct the client
  and never reach a server.
* ``test_stream_time``: a benchmark of a recording, see there.

The suite fetches pictures and sounds from the web; here it gets a few
bytes instead, since the practice model does not look at them.
"""

from types import SimpleNamespace

import openai
import pytest
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langchain_tests.integration_tests import (
    ChatModelIntegrationTests,
    EmbeddingsIntegrationTests,
    chat_models,
)

from workshop.model import practice_model

# What the clients say about the suite's own input.
pytestmark = [
    pytest.mark.filterwarnings("ignore:OpenAI may require a filename"),
    pytest.mark.filterwarnings("ignore:LANGCHAIN_TESTS_USER_AGENT"),
    pytest.mark.filterwarnings("ignore:Received a Pydantic BaseModel V1"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings"),
]


@pytest.fixture(autouse=True)
def no_web(monkeypatch):
    def get(*args, **kwargs):
        return SimpleNamespace(content=b"some bytes")

    monkeypatch.setattr(chat_models.httpx, "get", get)


def client_params(name: str) -> dict:
    model = practice_model()
    model.pace(ttft=0, per_token=0)
    # The client that models share would belong to another test's loop.
    fresh = openai.DefaultAsyncHttpxClient(verify=False)
    return {
        "model": name,
        "base_url": model.base_url,
        "api_key": model.key,
        "http_async_client": fresh,
    }


class Standard(ChatModelIntegrationTests):
    """What is the same for both APIs: everything applies."""

    chat_model_class = ChatOpenAI
    supports_json_mode = True
    supports_image_inputs = True
    supports_image_urls = True
    supports_image_tool_message = True
    supports_pdf_inputs = True
    supports_pdf_tool_message = True
    supports_audio_inputs = True
    supports_anthropic_inputs = True
    model_override_value = "gpt-4o-mini"

    @property
    def chat_model_params(self) -> dict:
        return client_params("gpt-4o") | {"stream_usage": True}

    @pytest.mark.xfail(
        reason="times a recorded answer, which needs vcr and benchmark",
        run=False,
    )
    def test_stream_time(self) -> None: ...


class TestChatCompletions(Standard):
    """``POST /v1/chat/completions``."""


class TestResponses(Standard):
    """``POST /v1/responses``."""

    @property
    def standard_chat_model_params(self) -> dict:
        # The Responses API has no stop sequences.
        params = super().standard_chat_model_params
        return {key: params[key] for key in params if key != "stop"}

    @property
    def chat_model_params(self) -> dict:
        return super().chat_model_params | {"use_responses_api": True}


class TestEmbeddings(EmbeddingsIntegrationTests):
    """``POST /v1/embeddings``."""

    embeddings_class = OpenAIEmbeddings

    @property
    def embedding_model_params(self) -> dict:
        # The length check would download a tokenizer.
        return client_params("text-embedding-3-small") | {
            "check_embedding_ctx_length": False
        }
