"""Starts command lines through the fork server, and says how each ended."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

Prepared = tuple[str, dict[str, Any]]

COMMIT_OFTEN: Prepared = ("commit_often", {"nbytes": 128 * 1024})


@dataclass(frozen=True)
class Ended:
    """How a command line ended: its exit code (negative: the signal), what it said, and its JSON report or error."""

    code: int
    said: str
    report: dict[str, Any]


class Forks:
    """A fork server. With `own_mounts`, in a mount namespace of its own: `root` is where its files are seen from."""

    def __init__(self, *, own_mounts: bool = False) -> None:
        command = [sys.executable, "-m", "tests.crash.fork_server"]
        # unshare execs, so the process keeps its id.
        namespace = ["unshare", "--mount", "--propagation", "private"] if own_mounts else []
        self._process = subprocess.Popen(
            [*namespace, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_environment()
        )
        self._streams = Path(tempfile.mkdtemp(prefix="mergegraph-streams-"))
        self._started = 0
        self._numbers: dict[int, int] = {}
        self.root = Path(f"/proc/{self._process.pid}/root") if own_mounts else Path("/")

    def start(self, folder: Path, *arguments: str, prepare: tuple[Prepared, ...] = (), go: Path | None = None) -> int:
        """Begin `mergegraph ARGUMENTS` in `folder`. With a pipe `go`, not before somebody opens that to write."""
        order = {
            "folder": str(folder),
            "arguments": arguments,
            "prepare": [COMMIT_OFTEN, *prepare],
            "go": str(go or ""),
            "streams": str(self._streams / str(self._started)),
        }
        pid = int(self._ask({"run": order})["pid"])
        self._numbers[pid] = self._started
        self._started += 1
        return pid

    def wait(self, pid: int) -> Ended:
        code = int(self._ask({"wait": pid})["code"])
        said, complained = (self._streams / f"{self._numbers[pid]}.{name}" for name in ("stdout", "stderr"))
        return Ended(code, complained.read_text(), last_object(said.read_text()))

    def run(self, folder: Path, *arguments: str, prepare: tuple[Prepared, ...] = ()) -> Ended:
        return self.wait(self.start(folder, *arguments, prepare=prepare))

    def shell(self, *command: str) -> None:
        """A command in the server's mount namespace."""
        inside = ["nsenter", "--target", str(self._process.pid), "--mount", *command]
        ended = subprocess.run(inside, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, f"{command}: {ended.stderr}"

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(order), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def __enter__(self) -> Forks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        shutil.rmtree(self._streams)


def last_object(text: str) -> dict[str, Any]:
    """The report, or the error, that `--json` ends with; nothing where a killed process said nothing whole."""
    lines = [line for line in text.splitlines() if line.startswith("{") and line.endswith("}")]
    return json.loads(lines[-1]) if lines else {}


def _environment() -> dict[str, str]:
    repository = Path(__file__).resolve().parents[2]
    paths = [str(repository), str(repository / "tui"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
