"""What the environment says. All times are in seconds."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, ImportString, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

Seconds = Annotated[float, Field(ge=0.1, allow_inf_nan=False)]


class Settings(BaseSettings):
    """Each field is a variable, SERVICE_DB for `db` and so on."""

    model_config = SettingsConfigDict(
        env_prefix="SERVICE_", frozen=True, populate_by_name=True
    )

    model: str = Field("gpt-4o", min_length=1, validation_alias="OPENAI_MODEL")
    agent: ImportString[Any] = Field(
        "service.agent:open_agent", validate_default=True
    )
    db: str = Field("service.db", min_length=1)  # or postgresql://…
    max_runs: int = Field(50, ge=1)  # in one process
    first_token_timeout: Seconds = 30
    run_timeout: Seconds = 300
    resume_grace: float = Field(5, ge=0, allow_inf_nan=False)
    slow_reader: Seconds = 10  # who takes nothing for so long is let go
    context_tokens: int = Field(100_000, ge=100)  # what the model is given
    hosts: str = Field("localhost,127.0.0.1,[::1]", min_length=1)  # or *
    frames: str = Field("'none'", min_length=1)  # who may frame the page


def in_one_line(error: ValidationError) -> str:
    """Name each bad variable, without its value: that may be a secret."""
    lines = []
    for each in error.errors(include_input=False, include_url=False):
        name = str(each["loc"][0])
        known = name if name.isupper() else f"SERVICE_{name.upper()}"
        lines.append(f"{known}: {each['msg']}")
    return "; ".join(lines)
