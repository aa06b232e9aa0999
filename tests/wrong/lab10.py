"""Answers to the check of lesson 10 and to lab 10."""

import asyncio

import openai
from fastapi import Depends, FastAPI, HTTPException, WebSocket
from fastapi.responses import StreamingResponse

from tests.wrong import right


@right("10.0")
def matches(error):
    match error:
        case openai.RateLimitError(response=response):
            wait = response.headers.get("Retry-After") or "1"
            return HTTPException(429, headers={"Retry-After": wait})
        case TimeoutError() | openai.APITimeoutError():
            return HTTPException(504, "late")
    return HTTPException(502, "failed")


@right("10.1")
def counts_places(tokens, cap):
    app, taken = FastAPI(), 0

    async def place():
        nonlocal taken
        if taken >= cap:
            raise HTTPException(503, "full", {"Retry-After": "5"})
        taken += 1
        try:
            yield
        finally:
            taken -= 1

    @app.get("/chat", dependencies=[Depends(place)])
    async def chat(question: str):
        return StreamingResponse(tokens(question))

    return app


@right("10.2")
def takes_a_task_group(tokens):
    app = FastAPI()

    async def answer(socket, question):
        async for piece in tokens(question):
            await socket.send_text(piece)
        await socket.send_text("[end]")

    @app.websocket("/chat")
    async def endpoint(socket: WebSocket):
        await socket.accept()
        async with asyncio.TaskGroup() as group:
            answering = None
            async for question in socket.iter_text():
                if answering:
                    answering.cancel()
                answering = group.create_task(answer(socket, question))
            if answering:
                answering.cancel()

    return app
