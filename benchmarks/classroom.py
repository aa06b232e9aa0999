"""A class on one JupyterHub: python benchmarks/classroom.py [LEARNERS]

It starts a Hub with the settings that INSTRUCTORS.md gives. All learners log
in at once, run lesson 01 from top to bottom, then lab 01 with its solutions,
in two kernels of their own. It prints how many pass all checks, after how
long, and what memory they take.

    --own         no shared practice model: each kernel starts its own
    --hub FOLDER  the environment with JupyterHub, made if it is not there
    --alone       no class: one person, from a fresh clone to the first token,
                  with empty caches of pip and uv, and again with full ones

The learners are no users of the system, and nothing leaves this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import httpx2
import psutil
from websockets.asyncio.client import ClientConnection, connect

ROOT = Path(__file__).resolve().parent.parent
BOOKS = ("notebooks/01_sync_vs_async", "exercises/01_sync_vs_async")
TOKEN = secrets.token_hex(16)
HEADERS = {"Authorization": f"token {TOKEN}"}
WAIT = httpx2.Timeout(600)
# What a benchmark needs besides: no system users, and a way in for itself.
LOCAL = """
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = "{homes}/{{username}}"
c.Spawner.args = ["--allow-root"]
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.bind_url = "{url}"
c.JupyterHub.hub_port = {port}
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{api_port}"
c.JupyterHub.db_url = "sqlite:///:memory:"
c.JupyterHub.cookie_secret_file = "{homes}/cookie_secret"
c.JupyterHub.services.append({{"name": "class", "api_token": "{token}"}})
c.JupyterHub.load_roles = [
    {{
        "name": "class",
        "services": ["class"],
        "scopes": ["admin:users", "admin:servers", "access:servers"],
    }}
]
"""


def main() -> None:
    """Read the command line, let all begin, print what became of them."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("learners", nargs="?", type=int, default=30)
    parser.add_argument("--own", action="store_true")
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--hub", type=Path, default=ROOT / "build" / "hub")
    options = parser.parse_args()
    if options.alone:
        alone()
        return
    environment(options.hub)
    with hub(options.hub.absolute(), options.own) as (url, process):
        results = asyncio.run(everybody(process, url, options.learners))
        used = memory(process)
    done = [each for each in results if isinstance(each, tuple)]
    for error in {repr(each) for each in results if each not in done}:
        print("somebody met:", error)
    passed = [each for each in done if each[0]]
    starts = [each[1] for each in done]
    ends = [each[2] for each in done]
    print(f"{len(passed)} of {options.learners} passed every check")
    for what, seconds in (("JupyterLab is there", starts), ("done", ends)):
        median = statistics.median(seconds)
        print(f"{what}: median {median:.0f} s, all {max(seconds):.0f} s")
    share = sum(used.values()) / options.learners
    print(f"memory: {share:.0f} MB a learner;", end=" ")
    print(", ".join(f"{name} {size:.0f} MB" for name, size in used.items()))


def environment(folder: Path) -> None:
    """Install what INSTRUCTORS.md says, unless the folder is there."""
    if folder.exists():
        return
    subprocess.check_call([sys.executable, "-m", "venv", folder])
    pip = [folder / "bin" / "pip", "install", "--quiet"]
    packages = [f"{ROOT}[lessons]", "jupyterhub", "jupyter-server-proxy"]
    subprocess.check_call([*pip, *packages])
    npm = ["npm", "install", "--silent", "--prefix", folder]
    subprocess.check_call([*npm, "configurable-http-proxy"])


@contextmanager
def hub(folder: Path, own: bool) -> Iterator[tuple[str, psutil.Popen]]:
    """Start a Hub; give its address and its process."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as homes:
        course = Path(homes, "srv")
        skip = shutil.ignore_patterns(".venv", ".git", "build", "__pycache__")
        shutil.copytree(ROOT, course, ignore=skip)
        port, hub_port, api_port, model_port = free_ports(4)
        url = f"http://127.0.0.1:{port}"
        settings = recipe()
        settings = settings.replace("/srv/course", f"{course}/.")
        settings = settings.replace("8765", str(model_port))
        if own:
            settings += "\ndel c.Spawner.environment\n"
        settings += LOCAL.format(
            homes=homes, url=url, port=hub_port, api_port=api_port, token=TOKEN
        )
        config = Path(homes, "jupyterhub_config.py")
        config.write_text(settings, "utf-8")
        path = f"{folder}/bin:{folder}/node_modules/.bin:{os.environ['PATH']}"
        with Path(homes, "hub.log").open("w") as log:
            run = psutil.Popen(
                [folder / "bin" / "jupyterhub", "-f", config],
                cwd=homes,
                env=os.environ | {"PATH": path},
                stdout=log,
                stderr=log,
            )
        try:
            yield url, run
        finally:
            shutil.copy(log.name, folder / "hub.log")
            with suppress(psutil.NoSuchProcess):
                run.terminate()  # it ends its users' servers
            run.wait(60)


def recipe() -> str:
    """Return the settings in INSTRUCTORS.md."""
    text = (ROOT / "INSTRUCTORS.md").read_text("utf-8")
    [settings] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return settings


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that nobody uses."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


async def everybody(
    hub: psutil.Popen, url: str, count: int
) -> list[tuple[bool, float, float] | BaseException]:
    """Wait for the Hub, then let all learners begin at the same moment."""
    async with httpx2.AsyncClient(headers=HEADERS, timeout=WAIT) as client:
        while True:
            if hub.poll() is not None:
                raise SystemExit("the Hub has ended: its hub.log says why")
            try:
                if (await client.get(f"{url}/hub/health")).is_success:
                    break
            except httpx2.HTTPError:
                pass
            await asyncio.sleep(0.5)
        class_ = (learner(client, url, f"u{n:02}") for n in range(count))
        return await asyncio.gather(*class_, return_exceptions=True)


async def learner(
    client: httpx2.AsyncClient, url: str, name: str
) -> tuple[bool, float, float]:
    """Do both: all checks passed, seconds to JupyterLab and to the end."""
    begin = time.perf_counter()
    user = f"{url}/hub/api/users/{name}"
    (await client.post(user)).raise_for_status()
    (await client.post(f"{user}/server")).raise_for_status()
    async with client.stream("GET", f"{user}/server/progress") as progress:
        await progress.aread()  # it ends when JupyterLab is there
    started = time.perf_counter() - begin
    lesson, lab = [
        await run(client, f"{url}/user/{name}", book) for book in BOOKS
    ]
    passed = "error" not in lesson and lab == {"✅"}
    return passed, started, time.perf_counter() - begin


async def run(client: httpx2.AsyncClient, server: str, book: str) -> set[str]:
    """Run a notebook in a kernel of its own; the marks of its checks."""
    text = (
        ROOT / f"{book.replace('exercises', 'solutions')}.ipynb"
    ).read_text("utf-8")
    body = {"path": f"course/{book}.ipynb", "name": "python3"}
    reply = await client.post(f"{server}/api/kernels", json=body)
    kernel = reply.raise_for_status().json()["id"]
    address = f"{server}/api/kernels/{kernel}/channels".replace(
        "http", "ws", 1
    )
    marks = set()
    async with connect(
        address, additional_headers=HEADERS, max_size=None, open_timeout=300
    ) as channels:
        for cell in json.loads(text)["cells"]:
            if cell["cell_type"] == "code":
                marks |= await execute(channels, cell)
    return marks


async def execute(channels: ClientConnection, cell: dict) -> set[str]:
    """Run a cell until it has ended; what it printed first, or `error`."""
    number = uuid4().hex
    content = {"code": "".join(cell["source"]), "stop_on_error": False}
    request = {
        "channel": "shell",
        "header": {"msg_id": number, "msg_type": "execute_request"},
        "parent_header": {},
        "metadata": {},
        "content": content,
    }
    await channels.send(json.dumps(request))
    marks = set()
    async for data in channels:
        message = json.loads(data)
        content = message["content"]
        if message["parent_header"].get("msg_id") != number:
            continue
        if message["msg_type"] == "stream":
            marks |= {content["text"][:1]} & set("✅❌⬜")
        elif message["msg_type"] == "error":
            if "raises-exception" not in cell["metadata"].get("tags", []):
                marks.add("error")
        elif content.get("execution_state") == "idle":
            break
    return marks


def memory(hub: psutil.Process) -> dict[str, float]:
    """Return who has how many MB, each shared page counted once."""
    used = {"kernels": 0.0, "JupyterLab": 0.0, "practice models": 0.0}
    used["the Hub"] = 0.0
    for process in [hub, *hub.children(recursive=True)]:
        words = " ".join(process.cmdline())
        if "ipykernel" in words:
            name = "kernels"
        elif "singleuser" in words:
            name = "JupyterLab"
        elif "workshop.practice" in words:
            name = "practice models"
        else:
            name = "the Hub"
        used[name] += process.memory_full_info().pss / 1e6
    return used


def alone() -> None:
    """Print the seconds that a newcomer waits, in a kernel's own shell."""
    book = json.loads((ROOT / "notebooks/00_start_here.ipynb").read_text())
    cells = [c for c in book["cells"] if c["cell_type"] == "code"]
    codes = ["".join(cell["source"]) for cell in cells]
    [first, *_] = [n for n, code in enumerate(codes) if "async for" in code]
    code = "\n".join(codes[: first + 1])
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        names = ("UV_CACHE_DIR", "PIP_CACHE_DIR")
        caches = {name: f"{place}/{name}" for name in names}
        for kind in ("empty", "full"):
            clone = Path(place, kind)
            begin = time.perf_counter()
            subprocess.check_call(["git", "clone", "-q", ROOT, clone])
            start = [sys.executable, "start.py", "setup"]
            subprocess.check_call(start, cwd=clone, env=os.environ | caches)
            ready = time.perf_counter() - begin
            shell = [clone / ".venv" / "bin" / "ipython", "-c", code]
            with subprocess.Popen(shell, stdout=subprocess.PIPE) as run:
                while run.stdout.read(1) != b"|":
                    pass
                token = time.perf_counter() - begin
                run.stdout.read()
            print(f"{kind} caches: set up after {ready:.0f} s,", end=" ")
            print(f"first token after {token:.0f} s")


if __name__ == "__main__":
    main()
