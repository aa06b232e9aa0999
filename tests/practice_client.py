"""Plain HTTP to the practice model, for what its clients would hide."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any, NamedTuple

from workshop.model import Model, practice_model


class Answer(NamedTuple):
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The data of its server-sent events, without the closing mark."""
        blocks = self.body.decode().split("\n\n")
        data = [block.split("data: ", 1)[1] for block in blocks if block]
        return [json.loads(text) for text in data if text != "[DONE]"]


_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def send(
    model: Model,
    method: str,
    path: str,
    body: Any = None,
    headers: dict[str, str] | None = None,
    token: str | None = None,
) -> Answer:
    """One request with the model's key, or ``token``; ``""`` is none.

    ``body`` is bytes, or a value that is sent as JSON.
    """
    token = model.key if token is None else token
    headers = dict(headers or {})
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    request = urllib.request.Request(
        model.base_url.removesuffix("/v1") + path,
        data=body,
        headers=headers,
        method=method,
    )
    try:
        with _open(request, timeout=30) as response:
            return Answer(response.status, response.headers, response.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, error.read())


def chat(prompt: Any, **more: Any) -> dict[str, Any]:
    """The body of a chat request."""
    messages = [{"role": "user", "content": prompt}]
    return {"model": "gpt-4o", "messages": messages, **more}


def fast_model() -> Model:
    """A session of its own, in which nothing takes time."""
    model = practice_model()
    model.pace(ttft=0, per_token=0)
    return model
