"""One style for the package, the tools, the tests and the sources."""

import subprocess
import sys

import pytest

from tools.build import ROOT


@pytest.mark.parametrize(
    "command",
    ["ruff check", "ruff format --check", "codespell_lib"],
)
def test_style(command: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", *command.split(), "."],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, f"\n{result.stdout}{result.stderr}"
