"""The process that evaluators run in: `python -m mergegraph.search.worker`.

One JSON object a line on standard input, one a line as the answer; what an evaluator prints goes to standard error.
A function that crashes takes this process along and not the search; one that hangs is killed with it, and so is a
command, which is in this process's group. When the search is gone, everything here ends.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO, cast

from mergegraph.search.evaluators import LmEval, filled

_MOST_RESULT_BYTES = 256_000_000
_TAIL_BYTES = 4_096


def main() -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    questions: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, questions), daemon=True).start()
    functions: dict[str, Callable[..., object]] = {}
    while True:
        answer = _answered(json.loads(questions.get()), functions)
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


def _listen(source: BinaryIO, questions: SimpleQueue[bytes]) -> None:
    """Hand lines on; at the end of the input end this process and what it started, whatever it is doing."""
    for line in source:
        questions.put(line)
    os.killpg(0, signal.SIGKILL)


class _NoEvaluator(Exception):
    """What was asked for is not to be had, whatever the model."""


def _answered(question: dict[str, Any], functions: dict[str, Callable[..., object]]) -> dict[str, Any]:
    spec: dict[str, Any] = question["evaluator"]
    try:
        if spec["command"] is not None:
            return _run_command(question)
        if spec["python"] is not None:
            return {"result": _plain(_call(question, functions))}
        return {"result": _plain(_lm_eval(question))}
    except (_NoEvaluator, ImportError) as error:
        return {"failed": _said(error), "is_about_evaluator": True}
    except (Exception, SystemExit) as error:
        return {"failed": _said(error)}


def _said(error: BaseException) -> str:
    traceback.print_exc()
    if isinstance(error, _NoEvaluator):
        return str(error)
    return "".join(traceback.format_exception_only(error)).strip().splitlines()[-1][:500]


def _run_command(question: dict[str, Any]) -> dict[str, Any]:
    result = Path(question["result"])
    result.unlink(missing_ok=True)
    values = {"model": question["model"], "split": question["split"], "result": str(result), "python": sys.executable}
    argv = filled(tuple(question["evaluator"]["command"]), values)
    log = Path(question["log"])
    before = log.stat().st_size if log.exists() else 0
    try:
        # What it prints goes to the log at once. It is waited for, and not for what it started.
        ended = subprocess.Popen(argv, cwd=question["folder"], stdin=subprocess.DEVNULL)
    except OSError as error:
        raise _NoEvaluator(f"{argv[0]} cannot be started: {error.strerror}") from error
    code = ended.wait()
    try:
        answer = _read_result(argv[0], result) if not code else {"failed": _ended(argv[0], code, _tail(log, before))}
    finally:
        result.unlink(missing_ok=True)
    return {**answer, "leaves_processes": _leaves_processes()}


def _read_result(program: str, result: Path) -> dict[str, Any]:
    try:
        with result.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > _MOST_RESULT_BYTES:
                return {"failed": f"the result has {size:,} bytes, and at most {_MOST_RESULT_BYTES:,} are read"}
            return {"result": _plain(json.loads(file.read()))}
    except FileNotFoundError:
        return {"failed": f"{program} wrote no result"}
    except (ValueError, RecursionError) as error:
        return {"failed": f"the result is not JSON: {error}"}


def _ended(program: str, code: int, said: str) -> str:
    how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    lines = said.strip().splitlines()
    return f"{program}: {how}" + (f", {lines[-1][:400]}" if lines else "")


def _tail(log: Path, start: int) -> str:
    """The last of what was printed since the log had `start` bytes."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(start, size - _TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def _leaves_processes() -> bool:
    """Whether something that the command started goes on; where the system does not say, no."""
    own = os.getpgrp()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            fields = entry.read_text().rpartition(")")[2].split()
            if int(fields[2]) == own and int(entry.parent.name) != os.getpid() and fields[0] != "Z":
                return True
    return False


def _call(question: dict[str, Any], functions: dict[str, Callable[..., object]]) -> object:
    spec = question["evaluator"]
    name: str = spec["python"]
    if name not in functions:
        sys.path.insert(0, os.path.normpath(Path(question["folder"]) / spec["path"]))
        functions[name] = _function(name)
    if spec["takes"] == "folder":
        return functions[name](Path(question["model"]), question["split"], **spec["arguments"])
    from mergegraph.search.tensors import Tensors

    tensors = Tensors.of(question["sources"], question["keep_bytes"])
    try:
        return functions[name](tensors, question["split"], **spec["arguments"])
    finally:
        tensors.close()


def _function(name: str) -> Callable[..., object]:
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except Exception as error:
        traceback.print_exc()
        said = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
        raise _NoEvaluator(f"{name} cannot be imported: {said[:400]}") from error


def _lm_eval(question: dict[str, Any]) -> object:
    from mergegraph.search.lm_eval import evaluate

    wanted = LmEval.model_validate(question["evaluator"]["lm_eval"])
    return evaluate(question["model"], question["split"], wanted, Path(question["folder"]))


def _plain(value: Any) -> Any:
    """`value` with plain numbers for those of numpy and torch, and words for what JSON has no number for."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in cast("list[Any]", value)]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return {"not_finite": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"the result holds a {type(value).__name__}, and JSON has none")


if __name__ == "__main__":
    main()
