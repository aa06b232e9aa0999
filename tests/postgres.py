"""A real PostgreSQL for tests: a server of our own on a free port."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import psycopg


class NoPostgres(Exception):
    """PostgreSQL is not installed."""


@dataclass
class Postgres:
    """A server that tests stop, start and fill."""

    control: str
    folder: str
    port: int
    numbers: Iterator[int] = field(default_factory=count)

    def pg_ctl(self, action: str, *options: str) -> None:
        who: dict[str, Any] = {}
        if os.geteuid() == 0:  # PostgreSQL refuses that
            who = {"user": "postgres", "group": "postgres", "extra_groups": []}
        data = ["-D", f"{self.folder}/data", "-l", f"{self.folder}/log", "-s"]
        subprocess.run(
            [self.control, action, *data, *options],
            check=True,
            cwd=self.folder,
            **who,
        )

    def start(self, listen: str = "127.0.0.1") -> None:
        options = f"-c listen_addresses={listen} -p {self.port} "
        options += f"-c fsync=off -k {self.folder}"
        self.pg_ctl("start", "-w", "-o", options)

    def stop(self, how: str = "fast") -> None:
        self.pg_ctl("stop", "-m", how)

    def admin(self, database: str = "postgres") -> psycopg.Connection[Any]:
        url = f"host={self.folder} port={self.port} user=course"
        return psycopg.connect(f"{url} dbname={database}", autocommit=True)

    def database(self) -> str:
        """Make an empty one; return its address."""
        name = f"test{next(self.numbers)}"
        with self.admin() as admin:
            admin.execute(f"CREATE DATABASE {name}")
        return f"postgresql://course@127.0.0.1:{self.port}/{name}"


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Run a server for a while; raise NoPostgres where none is installed."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    places = os.pathsep.join([os.environ["PATH"], *map(str, debian)])
    control = shutil.which("pg_ctl", path=places)
    if control is None:
        raise NoPostgres("PostgreSQL is not installed")
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.create_server(("127.0.0.1", 0)) as free,
    ):
        port = free.getsockname()[1]
        free.close()
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        server = Postgres(control, folder, port)
        trust = "-A trust -U course -E UTF8 --locale=C --no-sync"
        server.pg_ctl("initdb", "-o", trust)
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
