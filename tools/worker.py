"""Stands for `python -c CODE`: the zygote forks what runs the code.

xdist starts its workers by this file, and tests their scripts, so that none
imports for itself what the others import as well. It ends with 1 if the code
raises. Nothing here is slow to import.
"""

import json
import os
import signal
import socket
import sys

with socket.socket(socket.AF_UNIX) as line:
    line.connect(os.environ["NOTEBOOK_ZYGOTE"])
    socket.send_fds(line, [b" "], [0, 1, 2])
    wish = {"code": sys.argv[-1], "argv": ["-c"], "cwd": os.getcwd()}
    wish["env"] = dict(os.environ)
    line.sendall(json.dumps(wish).encode() + b"\n")
    for stream in 0, 1:
        os.close(stream)  # now they are those of the worker alone
    lines = line.makefile()
    pid = int(lines.readline())
    signal.signal(signal.SIGINT, lambda *_: os.kill(pid, signal.SIGINT))
    failed = bool(lines.read())  # nothing, until it ends
sys.exit(failed)
