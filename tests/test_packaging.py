"""What people type, what they get, and what CI does are the same thing."""

import ast
import re
import sys
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import start

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


@pytest.mark.parametrize("command", ["start.py", "start.py test"])
def test_readme_has_each_command_on_a_line_of_its_own(command):
    lines = read("README.md").splitlines()
    assert lines.count(f"python3 {command}") == 1
    assert "py start.py" in read("README.md")


@pytest.mark.parametrize("file", [".ci/run", ".github/workflows/test.yml"])
def test_ci_takes_its_command_from_the_readme(file):
    assert "grep -E '^python3 start.py test$' README.md" in read(file)
    assert "requirements-dev.txt" not in read(file)


def test_actions_are_pinned_and_rights_are_few():
    for path in (ROOT / ".github/workflows").glob("*.yml"):
        text = path.read_text("utf-8")
        for action in re.findall(r"uses: (\S+)", text):
            assert re.search(r"@[0-9a-f]{40}$", action), action
        assert "permissions:\n  contents: read\n" in text
        assert "concurrency:" in text


def test_long_tests_and_cold_kernels_run_weekly():
    weekly = read(".github/workflows/weekly.yml")
    assert "pytest --cold-kernels --long " in weekly


def test_pip_gets_the_lock_without_its_hashes(tmp_path, monkeypatch):
    monkeypatch.setattr(start, "ENVIRONMENT", tmp_path)
    for name in FILES:
        lines = start.unhashed(name).read_text("utf-8").splitlines()
        pinned = [x for x in lines if not x.lstrip().startswith("#")]
        read_back = {str(Requirement(x)) for x in pinned if x}
        assert read_back == {str(wanted) for wanted, _ in lock(name).values()}


def test_start_installs_again_only_when_a_file_has_changed(
    tmp_path, monkeypatch
):
    ran = []
    monkeypatch.setattr(start, "ENVIRONMENT", tmp_path)
    monkeypatch.setattr(start, "STAMP", tmp_path / "installed.txt")
    monkeypatch.setattr(start, "make_environment", lambda: None)
    monkeypatch.setattr(start, "run", lambda *command: ran.append(command))
    start.set_up("requirements-dev", False, None)
    first = len(ran)
    assert first
    start.set_up("requirements-dev", False, None)
    start.set_up("requirements", False, None)  # the tests' set holds these
    assert len(ran) == first
    (tmp_path / "installed.txt").write_text("requirements0", "utf-8")
    start.set_up("requirements", True, None)
    pip = next(x for x in ran[first:] if "pip" in x)
    assert tmp_path / "constraints.txt" in pip
    assert "uv" not in pip


@pytest.mark.parametrize("word", ["bogus", "start"])
def test_start_says_what_it_does_not_know(word, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["start.py", word])
    with pytest.raises(SystemExit):
        start.main()
    assert f"no such command: {word}" in capsys.readouterr().err


def test_ci_run_can_be_executed_by_bash_alone():
    first = read(".ci/run").splitlines()[0]
    assert first == "#!/usr/bin/env bash"
    assert b"\r" not in (ROOT / ".ci/run").read_bytes()


def test_one_range_of_python_everywhere():
    project = tomllib.loads(read("pyproject.toml"))["project"]
    versions = ["3.11", "3.12", "3.13", "3.14", "3.15"]
    assert project["requires-python"] == ">=3.11"
    assert "older than 3.11" in read("README.md")
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
    assert set(lock("requirements")) <= set(development)


def test_installed_versions_are_the_locked_ones():
    for (name, version), (wanted, _) in lock("requirements-dev").items():
        if wanted.marker is None or wanted.marker.evaluate():
            assert (name, metadata.version(name)) == (name, version)


def imported(folder):
    """Return the dotted names that a folder's Python files import."""
    names = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.update(f"{node.module}.{a.name}" for a in node.names)
    ours = {"workshop", "tools", "tests", "service", "start"} | {
        path.stem for path in (ROOT / "tests").rglob("*.py")
    }
    foreign = set(sys.stdlib_module_names) | ours
    return {name for name in names if name.partition(".")[0] not in foreign}


@cache
def files_of_packages():
    """Return {path in site-packages: package} of all that is installed."""
    found = {}
    for package in metadata.distributions():
        name = canonicalize_name(package.metadata["Name"])
        for file in package.files or []:
            found[file.as_posix()] = name
    return found


# langgraph itself is always installed with these.
PARTS = dict.fromkeys(
    ["langgraph-checkpoint", "langgraph-prebuilt"], "langgraph"
)


def provider(module):
    """Return the package that brings the deepest part of a dotted name.

    `langgraph.checkpoint.sqlite` is not brought by `langgraph`.
    """
    parts = module.split(".")
    for end in range(len(parts), 0, -1):
        path = "/".join(parts[:end])
        for file in (f"{path}.py", f"{path}/__init__.py"):
            if file in files_of_packages():
                package = files_of_packages()[file]
                return PARTS.get(package, package)
    found = metadata.packages_distributions()[parts[0]]
    return canonicalize_name(found[0])


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
    wanted = {
        canonicalize_name(requirement(line).name)
        for file in files
        for line in pins(file)
    }
    missing = {x for x in imported(folder) if provider(x) not in wanted}
    assert not missing


def declared(*extras):
    """Return the packages that pyproject.toml names, with these extras."""
    project = tomllib.loads(read("pyproject.toml"))["project"]
    found = [Requirement(x) for x in project["dependencies"]]
    for extra in extras:
        lines = map(Requirement, project["optional-dependencies"][extra])
        for wanted in lines:
            if wanted.name == project["name"]:
                found += declared(*wanted.extras).values()
            else:
                found.append(wanted)
    return {canonicalize_name(wanted.name): wanted for wanted in found}


def test_package_declares_what_it_imports():
    assert {provider(x) for x in imported("workshop")} == set(declared())


@pytest.mark.parametrize(
    ("extras", "folders"),
    [
        (["lessons"], ["source", "solutions"]),  # lesson 10 imports the latter
        (["lessons", "test"], ["tests", "tools"]),
    ],
)
def test_the_extra_brings_what_is_imported(extras, folders):
    needed = {provider(x) for folder in folders for x in imported(folder)}
    assert needed - set(declared(*extras)) == set()


def test_every_lower_bound_is_below_the_pin():
    pinned = {
        canonicalize_name(requirement(line).name): requirement(line)
        for file in FILES
        for line in pins(file)
    }
    for name, wanted in declared("lessons", "test").items():
        assert len(wanted.specifier) == 1 and ">=" in str(wanted.specifier)
        if name in pinned:
            version = str(pinned[name].specifier).removeprefix("==")
            assert wanted.specifier.contains(version), name
