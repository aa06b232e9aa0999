"""The workers of lesson 13 disturb no neighbour on the same machine."""

from __future__ import annotations

import ast
import os
import socket
import warnings
from contextlib import suppress
from typing import Any

import pytest
from dask.distributed import Client, LocalCluster

from tools.build import ROOT

DASHBOARD = 8787  # the port that Dask takes if nothing is said


def settings() -> dict[str, Any]:
    """What the lesson gives to LocalCluster."""
    lesson = (ROOT / "source" / "lessons" / "13_fan_out.py").read_text("utf-8")
    [call] = [
        node
        for node in ast.walk(ast.parse(lesson))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") == "LocalCluster"
    ]
    return {k.arg: ast.literal_eval(k.value) for k in call.keywords}


@pytest.mark.timeout(120)
async def test_two_notebooks_at_once_do_not_meet(
    capfd: pytest.CaptureFixture[str],
) -> None:
    given = settings() | {"n_workers": 1}
    with socket.socket() as neighbour:
        with suppress(OSError):  # then a real neighbour has it
            neighbour.bind(("127.0.0.1", DASHBOARD))
            neighbour.listen()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", UserWarning)
            cluster = LocalCluster(**given)
            async with cluster, Client(cluster, asynchronous=True) as client:
                [pid] = (await client.run(os.getpid)).values()
                addresses = [cluster.scheduler_address]
                served = cluster.scheduler.http_server.port
    assert pid != os.getpid()
    assert served not in (0, DASHBOARD)
    assert all("127.0.0.1" in address for address in addresses)
    assert [str(w.message) for w in said if "ort" in str(w.message)] == []
    assert str(DASHBOARD) not in capfd.readouterr().err
