"""The servers that are compared: how to install, start and ask each."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

WORDS = "one two six ten"  # three letters each: four with the space
TTFT, PER_TOKEN = 0.2, 0.1  # seconds, for the servers that can be paced


def node_version() -> str:
    """Return Node's version as it says it, or "" without Node."""
    if not shutil.which("node"):
        return ""
    asked = ["node", "--version"]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@dataclass(frozen=True)
class Job:
    """One start of a server: on which port, how paced, how long answers."""

    folder: Path  # the server's own environment
    port: int
    paced: bool  # False: as fast as it can
    tokens: int  # content deltas in an answer

    def words(self, count: int) -> str:
        """Return `count` words of three letters, a space after each."""
        return " ".join((WORDS.split() * count)[:count]) + " "

    def write(self, name: str, data: object) -> str:
        """Write `data` as JSON (which YAML readers take too)."""
        path = self.folder / name
        path.write_text(json.dumps(data), encoding="utf-8")
        return str(path)


class Rival:
    """What all servers have in common; each one overrides what differs."""

    name: str
    package = ""  # on PyPI or npm; "" when nothing is to be installed
    version = ""
    ready = "/v1/models"  # answers 200 when the server is up
    first = TTFT  # seconds from the request to the first token
    per_token = PER_TOKEN  # seconds between tokens
    steady = True  # False: its pace is random, only gaps are compared
    notes: str

    def available(self) -> bool:
        """Return whether this machine can install and run the server."""
        return True

    def install(self, folder: Path) -> None:
        """Make an environment with this server in `folder`, once."""
        if (folder / "done").exists():
            return
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        wanted = f"{self.package}=={self.version}"
        pip = [self.python(folder), "-m", "pip", "install", "-qq", wanted]
        subprocess.run(pip, check=True)
        (folder / "done").touch()

    def python(self, folder: Path) -> str:
        """Return the path of the environment's Python."""
        where = "Scripts/python.exe" if os.name == "nt" else "bin/python"
        return str(folder / where)

    def uvicorn(self, job: Job, app: str) -> list[str]:
        """Return the command that serves `app` quietly in one process."""
        command = [self.python(job.folder), "-m", "uvicorn", app]
        quiet = ["--no-access-log", "--log-level", "warning"]
        return [*command, "--port", str(job.port), *quiet]

    def command(self, job: Job) -> list[str]:
        """Return the command that starts the server as one process."""
        raise NotImplementedError

    def environment(self, job: Job) -> dict[str, str]:
        """Return the variables to set besides the inherited ones."""
        return {}

    def model(self, job: Job) -> str:
        """Return the model name to ask for."""
        return "gpt-4o"

    def prompt(self, job: Job) -> str:
        """Return the prompt that gets the answer of `job.tokens`."""
        return "Tell me a story."


class Practice(Rival):
    """The practice model of this course, on the fastest loop at hand."""

    name = "practice model"
    notes = "uvicorn with uvloop and httptools; one write for all due tokens"

    def install(self, folder: Path) -> None:
        """Make the folder only: the course's own environment is used."""
        folder.mkdir(parents=True, exist_ok=True)

    def start_code(self) -> list[str]:
        """Return the command up to its options."""
        return [sys.executable, "-m", "workshop.practice"]

    def command(self, job: Job) -> list[str]:
        """Return the command, with the pace as options."""
        ttft, pace = (TTFT, PER_TOKEN) if job.paced else (0.0, 0.0)
        timing = ["--ttft", str(ttft), "--per-token", str(pace)]
        return [*self.start_code(), "--port", str(job.port), *timing]

    def prompt(self, job: Job) -> str:
        """Return a prompt that is answered with the others' text."""
        return "Reply with exactly: " + job.words(job.tokens)


class PlainPractice(Practice):
    """The same server where uvloop and httptools do not exist."""

    name = "practice model, plain"
    notes = "uvicorn with asyncio and h11; one write for all due tokens"

    def start_code(self) -> list[str]:
        """Return a command in which the two imports fail."""
        code = (
            "import runpy, sys;"
            "sys.modules.update(uvloop=None, httptools=None);"
            "runpy.run_module('workshop.practice', run_name='__main__')"
        )
        return [sys.executable, "-c", code]


class Stubllm(Rival):
    """stubllm: FastAPI, fixtures, fixed delays after each token."""

    name = package = "stubllm"
    version = "0.1.5"
    notes = "uvicorn with uvloop and httptools"

    def command(self, job: Job) -> list[str]:
        """Return the command of its own program, with one fixture."""
        pace = {
            "latency_ms": int(1000 * TTFT) * job.paced,
            "stream_chunk_delay_ms": int(1000 * PER_TOKEN) * job.paced,
        }
        response = {"content": job.words(job.tokens), **pace}
        path = job.write("fixture.json", [{"response": response}])
        program = Path(self.python(job.folder)).with_name("stubllm")
        options = ["--fixture-file", path, "--log-level", "warning"]
        return [str(program), "serve", "--port", str(job.port), *options]


class Mockllm(Rival):
    """mockllm: one character a token, a random delay before each."""

    name = package = "mockllm"
    version = "0.0.8"
    ready = "/models"
    first = PER_TOKEN
    steady = False
    notes = "uvicorn with asyncio and h11; a token is one character"

    def command(self, job: Job) -> list[str]:
        """Return its app on uvicorn: its program starts two processes."""
        return self.uvicorn(job, "mockllm.server:app")

    def environment(self, job: Job) -> dict[str, str]:
        """Point it to a file with one answer; lag 1 is 0.1 s a token."""
        letters = job.words(job.tokens)[: job.tokens]
        data = {
            "responses": {},
            "defaults": {"unknown_response": letters},
            "settings": {"lag_enabled": job.paced, "lag_factor": 1},
        }
        return {"MOCKLLM_RESPONSES_FILE": job.write("answers.yml", data)}


class MockAiApi(Rival):
    """mock-ai-api: echoes the prompt, eight words a token, fixed pace."""

    name = package = "mock-ai-api"
    version = "0.1.1"
    ready = "/health"
    first = 0.2 + 0.08  # its first event holds the role only
    per_token = 0.08
    notes = "uvicorn with asyncio and h11; a token is eight words"

    def command(self, job: Job) -> list[str]:
        """Return its app on uvicorn: its program starts two servers."""
        return self.uvicorn(job, "app.openai_app:app")

    def model(self, job: Job) -> str:
        """Choose 80 ms a token, or 40 ms, which is its fastest."""
        return "gpt-4o:mock-delay" if job.paced else "gpt-4o:mock-echo"

    def prompt(self, job: Job) -> str:
        """Return words that fill the answer after its three of its own."""
        return job.words(8 * job.tokens - 3)


class Aimock(Rival):
    """aimock: on Node, fixtures, a profile of time to first token."""

    name = "aimock"
    package = "@copilotkit/aimock"
    version = "1.43.0"
    first = TTFT + PER_TOKEN  # its first event holds the role only
    notes = "Node's own http server"

    def available(self) -> bool:
        """Return whether npm and a recent Node are at hand."""
        major = node_version().partition(".")[0].removeprefix("v")
        return bool(shutil.which("npm") and int(major or 0) >= 20)

    def install(self, folder: Path) -> None:
        """Install the npm package into `folder`, once."""
        if (folder / "done").exists():
            return
        folder.mkdir(parents=True, exist_ok=True)
        wanted = f"{self.package}@{self.version}"
        npm = [str(shutil.which("npm")), "install", "--silent"]
        subprocess.run([*npm, "--prefix", folder, wanted], check=True)
        (folder / "done").touch()

    def command(self, job: Job) -> list[str]:
        """Return the command, with one fixture, four letters a token."""
        fixture = {
            "match": {"userMessage": self.prompt(job)},
            "response": {"content": job.words(job.tokens)},
        }
        if job.paced:
            fixture["streamingProfile"] = {
                "ttft": int(1000 * TTFT),
                "tps": 1 / PER_TOKEN,
            }
        path = job.write("fixture.json", {"fixtures": [fixture]})
        script = job.folder / "node_modules" / self.package / "dist/cli.js"
        options = ["-f", path, "-c", "4", "--log-level", "silent"]
        return ["node", str(script), "-p", str(job.port), *options]


RIVALS: list[Rival] = [
    Practice(),
    PlainPractice(),
    Stubllm(),
    Mockllm(),
    MockAiApi(),
    Aimock(),
]
