"""The worker seen from the search: a question and its answer, or the reason why there is none.

A worker that takes too long is killed with everything it started, one that crashed is started anew for the next
question.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, cast

import mergegraph

LOG = "evaluator.log"
_MOST_ANSWER_BYTES = 512_000_000
_KILL_SECONDS = 10


class Failed(Exception):
    """There is no answer; the message is the reason. `is_timeout`: a longer timeout may give one;
    `is_about_evaluator`: no model would."""

    def __init__(self, reason: str, *, is_timeout: bool = False, is_about_evaluator: bool = False) -> None:
        super().__init__(reason)
        self.is_timeout, self.is_about_evaluator = is_timeout, is_about_evaluator


class Worker:
    """A process that is started with the first question. What evaluators print goes to `log`. Use it in `with`."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, question: dict[str, Any], timeout_seconds: float) -> object:
        """The evaluator's result as it gave it. Failed with the reason."""
        process = self._running()
        deadline = time.monotonic() + timeout_seconds
        with suppress(OSError):  # a worker that is gone is seen when its answer is read
            stdin = cast("IO[bytes]", process.stdin)
            stdin.write(json.dumps(question).encode() + b"\n")
            stdin.flush()
        line = self._line(process, deadline, timeout_seconds)
        answer: dict[str, Any] = json.loads(line)
        if answer.get("leaves_processes"):
            self.kill()
        if "failed" in answer:
            raise Failed(str(answer["failed"]), is_about_evaluator=bool(answer.get("is_about_evaluator")))
        return answer["result"]

    def _line(self, process: subprocess.Popen[bytes], deadline: float, timeout_seconds: float) -> bytes:
        descriptor = cast("IO[bytes]", process.stdout).fileno()
        pieces: list[bytes] = []
        received = 0
        while not pieces or not pieces[-1].endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], min(left, 3600))[0]:
                if deadline > time.monotonic():
                    continue
                self.kill()
                raise Failed(f"it took longer than {timeout_seconds:g} seconds", is_timeout=True)
            piece = os.read(descriptor, 1 << 20)
            received += len(piece)
            if not piece:
                code = self.kill(_KILL_SECONDS)
                how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
                raise Failed(f"the evaluator ended its process ({how}); see {self._log.name}")
            if received > _MOST_ANSWER_BYTES:
                self.kill()
                raise Failed(f"the result has more than {_MOST_ANSWER_BYTES:,} bytes")
            pieces.append(piece)
        return b"".join(pieces)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.kill()
        paths = [str(Path(mergegraph.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        with self._log.open("ab") as log:
            # A session of its own: Ctrl-C is the search's, and a kill reaches what the evaluator started.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "mergegraph.search.worker"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
            )  # fmt: skip
        return self._process

    def kill(self, grace_seconds: float = 0.0) -> int:
        """End the worker and all it started. Its exit code: its own where it ends within the grace, else the kill's."""
        process, self._process = self._process, None
        if process is None:
            return 0
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace_seconds)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait(_KILL_SECONDS)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        return code

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
