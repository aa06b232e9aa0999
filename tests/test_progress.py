"""What a check notes, and what a class collects."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from workshop import progress


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where verdicts are noted, as if no test were running."""
    for name in ("CI", "PYTEST_VERSION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORKSHOP_PROGRESS", str(tmp_path / "notes.json"))
    return tmp_path / "notes.json"


def told(*options: str) -> str:
    return subprocess.run(
        [sys.executable, "-X", "utf8", "-m", "workshop.progress", *options],
        capture_output=True,
        check=True,
        encoding="utf-8",
        timeout=150,
    ).stdout


def test_what_passed_stays_passed(file: Path) -> None:
    for mark in "❌⬜✅❌⬜":
        progress.note("00.1", mark, "so it was")
    assert progress.read() == {
        "00.1": {"passed": True, "tries": 3, "said": "❌ so it was"}
    }
    lines = told().splitlines()
    assert lines[0] == f"1 of {len(progress.tasks())} tasks pass."
    assert lines[1] == "✅ 00.1 so it was"
    line = json.loads(told("--json", "--name", "Ada"))
    assert (line["name"], line["passed"]) == ("Ada", ["00.1"])
    assert line["tries"] == {"00.1": 3}
    assert line["open"] == progress.tasks()[1:]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"00.1": 1}'])
def test_a_damaged_file_is_no_trouble(file: Path, text: str) -> None:
    file.write_text(text)
    progress.note("00.1", "✅", "so it was")


def test_a_place_that_cannot_be_written(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKSHOP_PROGRESS", str(file / "no" / "such"))
    progress.note("00.1", "✅", "so it was")
    assert progress.read() == {}


@pytest.mark.parametrize("name", ["CI", "PYTEST_VERSION"])
def test_tests_note_nothing(
    file: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    progress.note("00.1", "✅", "so it was")
    assert not file.exists()
