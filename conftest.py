"""What holds for every test of the course, the notebooks' cells included."""

import os
from collections import Counter

import pytest

# Every cell talks to the practice model, whatever the environment says:
# a test must not spend money or send traces.
for name in list(os.environ):
    if name.startswith(("WORKSHOP_", "LANGSMITH_", "LANGCHAIN_")):
        del os.environ[name]


def pytest_configure(config: pytest.Config) -> None:
    """Let pytest run from any folder: nbval reads the path as it stands."""
    option = config.option
    if option.nbval_sanitize_with:
        path = config.rootpath / option.nbval_sanitize_with
        option.nbval_sanitize_with = str(path)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that the workers end together.

    First the browser and the exercises, then the notebooks, each with a kernel
    to start; last the files of many small tests, which fill the gap.
    """
    tests = Counter(item.path for item in items)

    def turn(item: pytest.Item) -> tuple[int, int]:
        if item.path.name in ("test_browser.py", "test_exercises.py"):
            return (-1, 0)
        count = tests[item.path]
        return (0, -count) if item.path.suffix == ".ipynb" else (1, count)

    items.sort(key=turn)
