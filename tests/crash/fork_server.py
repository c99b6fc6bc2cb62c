"""A process with torch imported that forks one command line after the other: each starts in milliseconds.

One JSON object a line. `{"run": {...}}` forks and answers its process id; `{"wait": pid}` answers how it ended.
Run it under `unshare -m` and it, and all that it forks, see mounts that nobody else does.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import sys
from pathlib import Path
from typing import Any

import mergegraph


def main() -> None:
    """Serve until standard input ends."""
    for module in pkgutil.walk_packages(mergegraph.__path__, "mergegraph."):
        if module.name != "mergegraph.__main__":
            importlib.import_module(module.name)
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            answer: dict[str, int] = {"code": os.waitstatus_to_exitcode(status)}
        else:
            answer = {"pid": _forked(order["run"])}
        print(json.dumps(answer), flush=True)


def _forked(order: dict[str, Any]) -> int:
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        code = _child(order)
    finally:
        os._exit(code)


def _child(order: dict[str, Any]) -> int:
    """What `python -m mergegraph` does, after what the test asks to be prepared and once it says go."""
    from mergegraph.cli import main as command_line

    os.chdir(order["folder"])
    for name, fd in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(f"{order['streams']}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), fd)
    for prepared, arguments in order["prepare"]:
        getattr(importlib.import_module("tests.crash.hooks"), prepared)(**arguments)
    if order["go"]:
        Path(order["go"]).read_bytes()  # a pipe: waits until somebody opens it to write
    code = command_line(order["arguments"])
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    main()
