"""The child process that opens pickles, seen from this side: questions in JSON, answers in JSON, and plain bytes.

Nothing that the child says is unpickled or believed: names, dtypes and shapes are checked as those of a header are.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from io import BufferedReader, BufferedWriter
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import mergegraph
from mergegraph.converting.child import CUT_SHORT
from mergegraph.errors import InputError, Problem, RunError

_MOST_ANSWER_BYTES = 100_000_000
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT", "PYTHONPATH")


class Worker:
    """A child for files of at most `file_bytes`. Use it in `with`: it ends with the block.

    `unconfined`: what the system did not let it take from itself.
    """

    def __init__(self, file_bytes: int) -> None:
        environment = {name: value for name in _PASSED_ON if (value := os.environ.get(name)) is not None}
        places = [str(Path(mergegraph.__file__).parents[1]), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, places))
        # -P: a torch.py in the current folder is not the library. A session of its own: Ctrl-C is this side's.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-B", "-m", "mergegraph.converting.child", str(file_bytes)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=environment, start_new_session=True,
        )  # fmt: skip
        self._path = ""
        ready = self._answer()
        self.torch_version = str(ready.get("torch", ""))
        self.unconfined = tuple(
            f"{what} ({ready[part]})"
            for part, what in (("network", "cut off from the network"), ("limits", "held to limits"))
            if ready.get(part)
        )

    def open(self, path: str, key: str | None) -> dict[str, Any]:
        """What the file at `path` holds: `tensors`, `under`, `left_out`. InputError when it is refused."""
        self._path = path
        self._ask({"open": path, "key": key})
        answer = self._answer()
        if "refused" in answer:
            fact, why, fix = answer["refused"]
            raise InputError(Problem(f"{path} {fact}", why=why, fix=fix))
        return answer

    def send(self, names: Iterable[str]) -> None:
        """Ask for the bytes of tensors of the file that was opened last; `read_into` takes them in this order."""
        self._ask({"send": list(names)})

    def read_into(self, buffer: memoryview) -> None:
        """The next bytes. RunError when the child has ended."""
        done = 0
        while done < len(buffer):
            count = cast("BufferedReader", self._process.stdout).readinto(buffer[done:])
            if not count:
                raise RunError(self._ended())
            done += count

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
        self._process.wait()

    def _ask(self, question: dict[str, object]) -> None:
        try:
            pipe = cast("BufferedWriter", self._process.stdin)
            pipe.write(json.dumps(question).encode() + b"\n")
            pipe.flush()
        except BrokenPipeError as error:
            raise RunError(self._ended()) from error

    def _answer(self) -> dict[str, Any]:
        line = cast("BufferedReader", self._process.stdout).readline(_MOST_ANSWER_BYTES)
        try:
            answer: object = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RunError(self._ended()) from error
        return cast("dict[str, Any]", answer) if isinstance(answer, dict) else {}

    def _ended(self) -> Problem:
        """What became of the child."""
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return Problem(f"The process that opens {self._path} answers nonsense.", fix="do not use this file")
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        whys = {
            CUT_SHORT: "the file was cut short while it was read",
            -signal.SIGBUS: "the file was cut short while it was read",
            -signal.SIGXCPU: "it took more processor time than a checkpoint of this size may",
            -signal.SIGKILL: "it was killed, by the system if memory ran out, or for its processor time",
        }
        return Problem(
            f"The process that opens {self._path or 'pickles'} ended early ({name}).",
            why=whys.get(code, "it could not start, or the file made it fail" if self._path else "it could not start"),
            fix="run the same command again with the whole file; if it happens again, do not use this file"
            if self._path
            else "python -c 'import torch' says what is wrong with the installation",
        )
