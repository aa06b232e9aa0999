"""The finished service under generated requests, good, odd and hostile."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service import running
from workshop.model import practice_model

pytestmark = [
    pytest.mark.skipif(
        sys.platform == "win32", reason="it ends processes by POSIX signals"
    ),
    pytest.mark.timeout(400),
]

LEFT_OUT = (
    # Starlette names only the method of the first route in `Allow`.
    "allow_header_conformance",
    # DELETE stops a run. What was said is kept, for who comes back.
    "use_after_free",
)


@pytest.mark.parametrize(
    "examples", [8, pytest.param(40, marks=pytest.mark.long)]
)
async def test_no_request_breaks_it(tmp_path: Path, examples: int) -> None:
    """From its OpenAPI page: each operation alone, then in sequences that
    follow and stop the runs that they began."""
    model = practice_model()
    model.pace(ttft=0, per_token=0)
    with running(model, tmp_path, workers=2, resume_grace=0) as process:
        fuzz = await asyncio.to_thread(
            subprocess.run,
            [
                sys.executable,
                *(
                    "-m",
                    "schemathesis.cli",
                    "run",
                    process.url + "/openapi.json",
                ),
                *("--exclude-checks", ",".join(LEFT_OUT)),
                *("--max-examples", str(examples)),
                "--generation-deterministic",
                "--no-color",
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        print(fuzz.stdout)
        assert fuzz.returncode == 0, fuzz.stdout
        cases = re.search(r"(\d+) generated, (\d+) passed", fuzz.stdout)
        assert cases and int(cases[1]) == int(cases[2]) > 7 * examples
        assert "/10" in fuzz.stdout

        async with process.client() as client:
            for _ in range(8):  # either worker
                assert (await client.get("/health")).json()["runs"] == 0
            assert (await client.ask("Hi", "after"))[-1].name == "done"
        assert "Traceback" not in process.said()
        assert '"ERROR"' not in process.said()
        assert model.meter().in_flight == 0
