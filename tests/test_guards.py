"""What protects the test run itself: from hangs, and from the environment."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

from tools.build import ROOT

FIRST = "import os\nassert 'WORKSHOP_MODEL' not in os.environ"
LIMIT = "--nbval-cell-timeout=1"
SECOND = {
    "hang": "import asyncio\nawait asyncio.sleep(600)",
    "dead": "os._exit(3)",
}


def test_a_hung_and_a_dead_kernel_are_named(tmp_path: Path) -> None:
    for name, cell in SECOND.items():
        made = new_notebook(cells=[new_code_cell(FIRST), new_code_cell(cell)])
        nbformat.write(made, tmp_path / f"{name}.ipynb")
    options = ["-c", "pyproject.toml", "-p", "conftest"]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *options, LIMIT, str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"WORKSHOP_MODEL": "openai"},
        capture_output=True,
        text=True,
        timeout=140,
    )
    assert "2 failed, 2 passed" in result.stdout, result.stdout
    failed = [
        line
        for line in result.stdout.splitlines()
        if line.startswith("FAILED")
    ]
    for name in SECOND:
        assert any(f"{name}.ipynb::Cell 1" in line for line in failed)


def test_the_guards_speak_within_three_minutes() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    options = settings["tool"]["pytest"]["ini_options"]
    cell = next(
        int(option.partition("=")[2])
        for option in options["addopts"]
        if option.startswith("--nbval-cell-timeout=")
    )
    # nbval waits five more seconds for the outputs of a cell it gave up.
    assert cell + 5 < options["timeout"] <= 180
