"""What holds for every test of the course, the notebooks' cells included."""

import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# Every cell talks to the practice model, whatever the environment says:
# a test must not spend money or send traces.
for name in list(os.environ):
    if name.startswith(("WORKSHOP_", "LANGSMITH_", "LANGCHAIN_")):
        del os.environ[name]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--long",
        action="store_true",
        help="also the tests marked long, as the weekly run; they are run "
        "as well where their file is named",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Let pytest run from any folder: nbval reads the path as it stands."""
    option = config.option
    if config.args_source is config.ArgsSource.ARGS:
        files = [Path(arg.partition("::")[0]) for arg in config.args]
        option.long |= all(file.suffix == ".py" for file in files)
    if option.nbval_sanitize_with:
        path = config.rootpath / option.nbval_sanitize_with
        option.nbval_sanitize_with = str(path)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """More workers than cores: a notebook mostly waits for its model."""
    if is_quick(config):
        return min(4, os.cpu_count() or 2)
    return min(12, 3 * (os.cpu_count() or 2))


def is_quick(config: pytest.Config) -> bool:
    return config.option.markexpr == "quick"


def pytest_ignore_collect(
    collection_path: Path, config: pytest.Config
) -> bool | None:
    """Do not even import what `-m quick` leaves out."""
    if is_quick(config) and collection_path.suffix in (".py", ".ipynb"):
        return collection_path.name not in QUICK
    return None


def pytest_xdist_make_scheduler(config, log) -> LoadScopeScheduling | None:
    """For `--dist loadfile`: a file to a worker, the exercises lab by lab.

    The mark `xdist_group` would say it, but xdist 3.8 does not read it under
    pytest 9.2 (pytest-xdist#1386).
    """
    if config.getvalue("dist") == "loadfile":
        return ByGroup(config, log)
    return None


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Begin with the longest.

    First the browsers and the exercises, then the notebooks, each with a
    kernel to start; last the files of many small tests, which fill the gap.
    """
    if not config.option.long:
        long = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]
    tests = Counter(group_of(item.nodeid) for item in items)

    def turn(item: pytest.Item) -> tuple[int, int]:
        if item.path.name in LONGEST:
            return (LONGEST.index(item.path.name) - len(LONGEST), 0)
        count = tests[group_of(item.nodeid)]
        return (0, -count) if item.path.suffix == ".ipynb" else (1, count)

    items.sort(key=turn)
    for item in items:
        if item.path.name in QUICK:
            item.add_marker("quick")
    if sys.platform == "win32":
        no_limit = pytest.mark.skip("Windows does not limit open files")
        for item in items:
            cell = getattr(item, "cell", {})
            if "import resource" in cell.get("source", ""):
                item.add_marker(no_limit)


LONGEST = (
    "test_browser.py",
    "test_service_workers.py",
    "test_service_store.py",
    "test_service_fuzz.py",
    "test_chat_page.py",
    "test_exercises.py",
)
# What needs no browser, no database, no notebook and no long wait.
QUICK = (
    "test_build.py",
    "test_chunks.py",
    "test_kernels.py",
    "test_kit.py",
    "test_museum.py",
    "test_notes.py",
    "test_observe.py",
    "test_packaging.py",
    "test_practice_answers.py",
    "test_practice_endings.py",
    "test_practice_prompts.py",
    "test_practice_refusals.py",
    "test_practice_wire.py",
    "test_process.py",
    "test_progress.py",
    "test_structure.py",
    "test_style.py",
)
LAB = re.compile(r"tests/test_exercises\.py::\w+\[\d\d")
# Each of their tests starts its own processes, and waits for them.
ALONE = re.compile(r"tests/test_service_(workers|store)\.py::")


def group_of(nodeid: str) -> str:
    """What runs in one worker: a file, a lab, or a test that waits long."""
    lab = LAB.match(nodeid)
    if lab:
        return lab[0].split("[")[1]
    return nodeid if ALONE.match(nodeid) else nodeid.split("::")[0]


class ByGroup(LoadScopeScheduling):
    """Send one group after another to the workers that are free."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


@pytest.fixture(scope="session")
def server() -> Iterator[Any]:
    """The PostgreSQL of this worker; None where it is not installed."""
    from tests.postgres import NoPostgres, postgres

    try:
        with postgres() as started:
            yield started
    except NoPostgres:
        if os.environ.get("CI") and sys.platform == "linux":
            raise
        yield None


def pytest_terminal_summary(terminalreporter, exitstatus, config) -> None:
    """Say last what was skipped, and what to install."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ").splitlines()[0]
        for report in terminalreporter.getreports("skipped")
        if isinstance(report.longrepr, tuple)
    )
    for reason, number in reasons.items():
        terminalreporter.write_line(f"skipped {number}: {reason}")
