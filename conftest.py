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


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep each file to one worker, and begin with the longest.

    First the browsers and the exercises, then the notebooks, each with a
    kernel to start; last the files of many small tests, which fill the gap.
    The exercises are one group for each lab.
    """
    groups = [group_of(item) for item in items]
    tests = Counter(groups)

    def turn(item: pytest.Item) -> tuple[int, int]:
        if item.path.name in LONGEST:
            return (-1, 0)
        count = tests[group_of(item)]
        return (0, -count) if item.path.suffix == ".ipynb" else (1, count)

    for item, group in zip(items, groups, strict=True):
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=turn)


LONGEST = ("test_browser.py", "test_chat_page.py", "test_exercises.py")


def group_of(item: pytest.Item) -> str:
    """What runs in one worker: a file, of the exercises a lab."""
    group = f"{item.path.parent.name}/{item.path.name}"
    if item.path.name == "test_exercises.py" and hasattr(item, "callspec"):
        group += " " + item.callspec.params["task"][:2]
    return group
