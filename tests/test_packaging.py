"""What people type, what they get, and what CI does are the same thing."""

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
THE_SIX = [
    "jupyterlab",
    "nest-asyncio",
    "langgraph",
    "langchain-openai",
    "ipywidgets",
    "nbval",
]
FILES = ["requirements", "requirements-dev"]


def read(path):
    """Return the text of a file, given by its path from the root."""
    return (ROOT / path).read_text(encoding="utf-8")


def pins(name):
    """Return the requirement lines of one requirements file, in order."""
    lines = read(f"{name}.txt").splitlines()
    return [x for x in lines if x and not x.startswith(("#", "-"))]


def requirement(line):
    """Return the Requirement of a line, without its reason."""
    return Requirement(line.split("  #")[0])


def lock(name):
    """Return {(package, version): (Requirement, number of hashes)}."""
    entries = {}
    for entry in re.split(r"\n(?=\S)", read(f"{name}.lock")):
        if not entry.startswith("#"):
            wanted = Requirement(entry.split(" \\\n")[0])
            version = str(wanted.specifier).removeprefix("==")
            hashes = len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", entry))
            entries[canonicalize_name(wanted.name), version] = wanted, hashes
    return entries


def readme_lines(part):
    """Return the README's command lines that contain `part`."""
    lines = read("README.md").splitlines()
    return [x.strip() for x in lines if part in x and ".venv" in x]


def for_powershell(command):
    """Return a POSIX command line as PowerShell 5.1 understands it."""
    for posix, powershell in [
        (" && ", "; "),
        (".venv/bin/", ".venv\\Scripts\\"),
        ("python3 ", "py "),
        ("notebooks/", "notebooks\\"),
    ]:
        command = command.replace(posix, powershell)
    return command


@pytest.mark.parametrize(
    ("part", "posix"),
    [
        (
            "-c requirements.lock",
            "jupyter lab --notebook-dir=. notebooks/00_start_here.ipynb",
        ),
        ("-c requirements-dev.lock", "pytest"),
        ("pip install -r requirements.txt", ""),
    ],
)
def test_readme_has_each_command_for_both_shells(part, posix):
    command, powershell = readme_lines(part)
    assert command.startswith("python3 -m venv .venv && ")
    assert command.endswith(posix)
    assert powershell == for_powershell(command)


def test_both_readme_commands_differ_in_nothing_else():
    (learn, _), (test, _) = map(
        readme_lines, ["-c requirements.lock", "-c requirements-dev.lock"]
    )
    expected = learn.replace("requirements", "requirements-dev")
    expected = expected.rpartition("jupyter lab")[0] + "pytest"
    assert test == expected


@pytest.mark.parametrize("file", [".ci/run", ".github/workflows/test.yml"])
def test_ci_takes_its_commands_from_the_readme(file):
    script = read(file)
    parts = set(re.findall(r"'(\.venv/bin/.+?)'", script))
    assert parts == {
        ".venv/bin/pytest",
        ".venv/bin/pip install -r requirements.txt",
    }
    assert [len(readme_lines(part)) for part in parts] == [1, 1]
    assert "uv pip" not in script


def test_ci_run_can_be_executed_by_bash_alone():
    first = read(".ci/run").splitlines()[0]
    assert first == "#!/usr/bin/env bash"
    assert b"\r" not in (ROOT / ".ci/run").read_bytes()


def test_one_range_of_python_everywhere():
    project = tomllib.loads(read("pyproject.toml"))["project"]
    versions = ["3.11", "3.12", "3.13"]
    assert project["requires-python"] == ">=3.11,<3.14"
    named = [x.split()[-1] for x in project["classifiers"] if ":: 3." in x]
    assert named == versions
    for workflow in ["test", "weekly"]:
        text = read(f".github/workflows/{workflow}.yml")
        assert re.findall(r'python: \["(.+?)"\]', text) == [
            '", "'.join(versions)
        ]
    for name in FILES:
        assert "--universal --python-version 3.11 " in read(f"{name}.lock")


def test_requirements_begin_with_the_six_and_end_with_the_course():
    names = [requirement(line).name for line in pins("requirements")]
    assert names[: len(THE_SIX)] == THE_SIX
    assert read("requirements.txt").endswith("\n-e .\n")


@pytest.mark.parametrize("name", FILES)
def test_every_requirement_is_pinned_for_a_reason(name):
    for line in pins(name):
        name, reason = line.split("  # ")
        assert re.fullmatch(r"[a-z0-9-]+(\[[a-z]+\])?==[^ *]+( ; .+)?", name)
        assert re.fullmatch(r"\w.{5,}", reason)


@pytest.mark.parametrize("name", FILES)
def test_lock_holds_every_pin_and_a_hash_for_everything(name):
    locked = lock(name)
    assert len(locked) > 100
    for line in pins(name):
        wanted = requirement(line)
        version = str(wanted.specifier).removeprefix("==")
        assert (wanted.name, version) in locked
    assert [key for key, (_, hashes) in locked.items() if not hashes] == []


@pytest.mark.parametrize("name", FILES)
def test_lock_names_no_index_and_no_path(name):
    text = read(f"{name}.lock")
    assert not re.search(r"://|@|--(extra-)?index|--find-links", text)


def test_development_lock_only_adds():
    development = lock("requirements-dev")
    for key, (wanted, _) in lock("requirements").items():
        assert str(development[key][0]) == str(wanted)


def test_installed_versions_are_the_locked_ones():
    for (name, version), (wanted, _) in lock("requirements-dev").items():
        if wanted.marker is None or wanted.marker.evaluate():
            assert (name, metadata.version(name)) == (name, version)


def imported(folder):
    """Return the top-level names that a folder's Python files import."""
    names = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module)
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize(
    ("folder", "files"),
    [
        ("workshop", FILES[:1]),
        ("source", FILES[:1]),
        ("solutions", FILES[:1]),
        ("tools", FILES),
        ("tests", FILES),
    ],
)
def test_every_import_is_a_direct_requirement(folder, files):
    wanted = {requirement(line).name for file in files for line in pins(file)}
    providers = metadata.packages_distributions()
    ours = {"workshop", "tools", "tests"} | {
        path.stem for path in (ROOT / "tests").rglob("*.py")
    }
    for module in imported(folder) - set(sys.stdlib_module_names) - ours:
        found = {canonicalize_name(name) for name in providers[module]}
        assert found & wanted, f"{folder} imports {module}"


def test_package_declares_what_it_imports():
    project = tomllib.loads(read("pyproject.toml"))["project"]
    declared = set(project["dependencies"])
    providers = metadata.packages_distributions()
    modules = imported("workshop") - {"workshop", *sys.stdlib_module_names}
    found = [
        declared & {canonicalize_name(name) for name in providers[module]}
        for module in modules
    ]
    assert all(found)
    assert set().union(*found) == declared
