"""The HTTP routes."""

from __future__ import annotations

import asyncio
import gc
import html
import json
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from inspect import isawaitable
from pathlib import Path
from typing import Annotated, Any

import openai
from fastapi import APIRouter, Depends, FastAPI, Header, Request
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from fastapi.responses import (
    HTMLResponse,
    JSONResponse,
    Response,
    StreamingResponse,
)
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field, ValidationError

from service import agent, logs
from service import users as users_module
from service.memory import Unsuitable, check
from service.run import Run
from service.runs import Runs, refusal
from service.settings import Settings, in_one_line
from service.sqlite import open_sqlite
from service.store import Unavailable
from service.web import ending, guard, guarded

PAGE = Path(__file__).with_name("page")
AWAY = "the database cannot be used at the moment"


class EventStream(StreamingResponse):
    """Server-sent events, encoded, to one reader; `local` is the run, if it
    is of this process, to be told when that reader has left. With `first` the
    status waits for what it says first. FastAPI's own EventSourceResponse has
    sent 200 before the events' first line runs."""

    def __init__(
        self,
        events: AsyncIterator[bytes],
        run: str,
        local: Run | None = None,
        first: bool = False,
    ) -> None:
        headers = {
            "Cache-Control": "no-cache",
            "X-Accel-Buffering": "no",
            "X-Run-Id": run,
        }
        kind = "text/event-stream"
        super().__init__(events, headers=headers, media_type=kind)
        self.local, self.first = local, first
        if local:
            local.attach()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self.local:
                self.local.detach()

    async def stream_response(self, send: Any) -> None:
        """Raises the HTTPException of a run that failed before."""
        if self.local and self.first:
            await self.local.begun.wait()
            if self.local.refused and not self.local.parts:
                raise self.local.refused
        await super().stream_response(send)


Name = Annotated[str, InPath(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Token = Annotated[str, Header(alias="Idempotency-Key", max_length=64)]
Last = Annotated[int, Header(alias="Last-Event-ID", ge=0, le=10**9)]


class Question(BaseModel):
    """What a user asks."""

    message: str = Field(min_length=1, max_length=8000)


class Answer(BaseModel):
    """What a user says to what the agent has asked: a text, or any JSON."""

    answer: str | bool | int | float | list[Any] | dict[str, Any]


# --- what the OpenAPI page says


def may_refuse(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """These statuses come with `{"detail": "..."}`."""
    schema = {"type": "object", "required": ["detail"]}
    content = {"application/json": {"schema": schema}}
    answer = {"description": "", "content": content}
    return {status: answer for status in statuses}


FIELDS = {name: {"type": "string"} for name in ("id", "event", "data")}
ITEM = {"itemSchema": {"type": "object", "properties": FIELDS}}
EVENTS = {"description": "", "content": {"text/event-stream": ITEM}}
RUN = {"run": "$response.header.X-Run-Id"}
LINKS = {  # what can be done with the run whose id comes in a header
    name: {"operationId": name, "parameters": RUN}
    for name in ("follow_run", "stop_run")
}
STARTS: dict[str, Any] = {
    "status_code": 200,
    "response_class": EventStream,
    "responses": may_refuse(400, 409, 413, 429, 502, 503, 504)
    | {200: EVENTS | {"links": LINKS}},
}
ENDS: dict[str, Any] = {"status_code": 204, "responses": may_refuse(404, 503)}


async def who(request: Request) -> str:
    """Who asks, as the application's `user_of` has it."""
    user = request.app.state.user_of(request)
    return await user if isawaitable(user) else user


def runs_of(request: Request) -> Runs:
    return request.app.state.runs


User = Annotated[str, Depends(who)]
All = Annotated[Runs, Depends(runs_of)]
router = APIRouter(generate_unique_id_function=lambda route: route.name)


@router.post("/threads/{thread}/runs", **STARTS)
async def start_run(
    thread: Name,
    question: Question,
    request: Request,
    user: User,
    token: Token = "",
) -> Response:
    """Ask on a thread. The answer comes as events, from the first on."""
    return await started(request, user, thread, question.message, token)


@router.post("/threads/{thread}/answers", **STARTS)
async def answer(
    thread: Name,
    answer: Answer,
    request: Request,
    user: User,
    token: Token = "",
) -> Response:
    """Say what the agent has asked; it goes on as a new run."""
    said = answer.answer
    text = said if isinstance(said, str) else json.dumps(said)
    return await started(request, user, thread, text, token, said)


@router.get(
    "/runs/{run}",
    status_code=200,
    response_class=EventStream,
    responses=may_refuse(404, 503)
    | {200: EVENTS, 204: {"description": "There is no more."}},
)
async def follow_run(
    run: Name, user: User, runs: All, last: Last = 0
) -> Response:
    """Come back to a run, and get what follows the event seen last."""
    return await followed(runs, user, run, last)


@router.delete("/runs/{run}", **ENDS)
async def stop_run(run: Name, user: User, runs: All) -> None:
    """Stop a run at the model. What its user saw stays in the thread."""
    await about_run(runs, user, run)
    await runs.stop(run)


@router.get("/threads", responses=may_refuse(503))
async def list_threads(user: User, runs: All) -> Any:
    """A user's threads, the latest first, by their first question."""
    found = await runs.store.threads_of(user)
    return [{"thread": name, "title": text[:100]} for name, text in found]


@router.get("/threads/{thread}", responses=may_refuse(503))
async def read_thread(thread: Name, user: User, runs: All) -> Any:
    """What was said on a thread, and the run that is under way on it."""
    logs.about.set({"thread": thread})
    messages, run, asks = [], None, None
    for turn in await runs.store.turns(user, thread):
        messages.append({"role": "user", "text": turn.question})
        if turn.answer:
            said = {"role": "assistant", "text": turn.answer}
            messages.append(said | {"outcome": turn.outcome})
        run = turn.id if turn.outcome is None else None
        asks = turn.asks
    return {"messages": messages, "run": run, "asks": asks or None}


@router.delete("/threads/{thread}", **ENDS)
async def delete_thread(thread: Name, user: User, runs: All) -> None:
    """Forget a thread, its events and what its agent remembers."""
    logs.about.set({"thread": thread})
    await runs.delete(user, thread)


@router.get("/health")
async def health(runs: All) -> dict[str, Any]:
    """Whether this process lives, and how busy it is."""
    limit = runs.settings.max_runs
    return {"status": "ok", "runs": len(runs.runs), "limit": limit}


@router.get("/ready", responses=may_refuse(503))
async def ready(runs: All) -> dict[str, Any]:
    """Whether it can do its work: the database takes a write."""
    await runs.store.check()
    return {"status": "ready"}


@router.get("/metrics", include_in_schema=False)
async def metrics() -> Response:
    """This process's figures for Prometheus."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


@router.get("/", response_class=HTMLResponse)
async def page() -> str:
    """The chat page."""
    source = PAGE.joinpath("index.html").read_text("utf-8")
    return source.replace("{name}", html.escape(agent.NAME))


# --- what the routes share


async def started(request: Request, user: str, *values: Any) -> Response:
    """Start a run, and answer when it has said something or failed."""
    runs = runs_of(request)
    run = await runs.start(user, *values)
    if isinstance(run, str):  # a request that came before
        return await followed(runs, user, run, 0)
    logs.about.set({"run": run.id, "thread": run.thread})
    return EventStream(run.follow(0), run.id, run, first=True)


async def followed(runs: Runs, user: str, run: str, last: int) -> Response:
    local = runs.runs.get(run)
    if local and local.owner == user:
        logs.about.set({"run": run, "thread": local.thread})
        return EventStream(local.follow(last), run, local)
    await about_run(runs, user, run)
    is_open, events = await runs.store.news(run, last)
    if not is_open and not events:
        return Response(status_code=204)  # an EventSource stops asking
    return EventStream(runs.follow(run, last), run)


async def about_run(runs: Runs, user: str, run: str) -> None:
    """Raises 404 if it is not this user's."""
    thread = await runs.store.find(run, user)
    if thread is None:
        raise refusal(404, "no such run")
    logs.about.set({"run": run, "thread": thread})


# --- the application


def open_store(settings: Settings) -> Any:
    """The database of SERVICE_DB."""
    if settings.db.startswith(("postgresql://", "postgres://")):
        from service.postgres import open_postgres

        return open_postgres(settings.db)
    return open_sqlite(settings.db)


def reason(error: Exception) -> str:
    """In one line why it cannot start; "" if that is a bug."""
    match error:
        case ValidationError():
            return in_one_line(error)
        case Unavailable():
            return f"SERVICE_DB: {error}"
        case Unsuitable():
            return f"SERVICE_AGENT: {error}"
        case openai.OpenAIError():
            return (
                "OPENAI_API_KEY: not set. Any text will do for a practice "
                "model; OPENAI_BASE_URL says where it is"
            )
    return ""


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One agent, one store and its runs for each process."""
    if app.state.logs:
        logs.set_up()
    async with AsyncExitStack() as stack:
        try:
            settings = app.state.given or Settings()
            graph = await stack.enter_async_context(settings.agent(settings))
            await check(graph)
            store = await stack.enter_async_context(open_store(settings))
            app.state.secret = await store.secret(secrets.token_hex(32))
        except Exception as error:
            app.state.why = reason(error)
            raise
        runs = app.state.runs = Runs(settings, store, graph)
        guard(app.state, settings)
        tending = asyncio.create_task(runs.tend())
        gc.collect()
        gc.freeze()  # what is there now stays: never look at it again
        gc.set_threshold(10_000, 20, 50)
        with ending(runs.shut_down, app.state.waiting):
            yield
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await runs.shut_down()
        tending.cancel()
        await asyncio.wait([tending])


class Service(FastAPI):
    """FastAPI within what holds for every request."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def in_one_line(message: Any) -> None:
            if message["type"] == "lifespan.startup.failed" and self.state.why:
                message["message"] = f"Cannot start: {self.state.why}."
            await send(message)

        if scope["type"] == "http":
            inner = super().__call__
            await guarded(inner, self.state, scope, receive, send)
        elif scope["type"] == "lifespan":
            await super().__call__(scope, receive, in_one_line)


def create_app(
    settings: Settings | None = None,
    user_of: Callable[..., Any] = users_module.user_of,
    logs: bool = False,
) -> FastAPI:
    """Make the application; nothing is read or opened until it starts.

    `settings` are those of the environment, unless given. `user_of` says who
    asks. With `logs` the process's lines become JSON.
    """

    app = Service(
        title=agent.NAME,
        lifespan=lifespan,
        max_body_size=100_000,  # bytes
        docs_url=None,  # they load scripts from another site
        redoc_url=None,
    )
    app.state.given, app.state.user_of = settings, user_of
    app.state.logs, app.state.why = logs, ""
    app.state.waiting = set()  # connections that take nothing just now
    app.mount("/page", StaticFiles(directory=PAGE), "page")
    app.exception_handler(RequestValidationError)(unprocessable)
    app.exception_handler(Unavailable)(away)
    app.include_router(router)
    return app


async def unprocessable(request: Request, error: Any) -> JSONResponse:
    """Say what is wrong, and not what it was: that is a user's."""
    kept = ("type", "loc", "msg")
    detail = [{key: each[key] for key in kept} for each in error.errors()]
    return JSONResponse({"detail": detail}, 422)


async def away(request: Request, error: Any) -> JSONResponse:
    return JSONResponse({"detail": AWAY}, 503, {"Retry-After": "5"})
