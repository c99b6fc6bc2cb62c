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
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO, cast

from mergegraph.search.evaluators import LmEval, filled

_MOST_RESULT_BYTES = 256_000_000


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


def _answered(question: dict[str, Any], functions: dict[str, Callable[..., object]]) -> dict[str, Any]:
    spec: dict[str, Any] = question["evaluator"]
    try:
        if spec["command"] is not None:
            return _run_command(question)
        if spec["python"] is not None:
            return {"result": _plain(_call(question, functions))}
        return {"result": _plain(_lm_eval(question))}
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        said = "".join(traceback.format_exception_only(error)).strip()
        return {"failed": said.splitlines()[-1][:500]}


def _run_command(question: dict[str, Any]) -> dict[str, Any]:
    result = Path(question["result"])
    result.unlink(missing_ok=True)
    values = {"model": question["model"], "split": question["split"], "result": str(result), "python": sys.executable}
    argv = filled(tuple(question["evaluator"]["command"]), values)
    try:
        ended = subprocess.run(
            argv, cwd=question["folder"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
        )
    except OSError as error:
        return {"failed": f"{argv[0]} cannot be started: {error.strerror}"}
    sys.stderr.buffer.write(ended.stderr)
    sys.stderr.flush()
    if ended.returncode:
        last = ended.stderr.decode(errors="replace").strip().splitlines()
        how = f"killed by signal {-ended.returncode}" if ended.returncode < 0 else f"exit code {ended.returncode}"
        return {"failed": f"{argv[0]}: {how}" + (f", {last[-1][:400]}" if last else "")}
    try:
        with result.open("rb") as file:
            raw = file.read(_MOST_RESULT_BYTES)
        return {"result": _plain(json.loads(raw))}
    except FileNotFoundError:
        return {"failed": f"{argv[0]} wrote no result"}
    except (ValueError, RecursionError) as error:
        return {"failed": f"the result is not JSON: {error}"}
    finally:
        result.unlink(missing_ok=True)


def _call(question: dict[str, Any], functions: dict[str, Callable[..., object]]) -> object:
    spec = question["evaluator"]
    name: str = spec["python"]
    if name not in functions:
        sys.path.insert(0, os.path.normpath(Path(question["folder"]) / spec["path"]))
        module, _, function = name.partition(":")
        functions[name] = getattr(importlib.import_module(module), function)
    if spec["takes"] == "folder":
        return functions[name](Path(question["model"]), question["split"], **spec["arguments"])
    from mergegraph.search.tensors import Tensors

    tensors = Tensors.of(question["sources"], question["keep_bytes"])
    try:
        return functions[name](tensors, question["split"], **spec["arguments"])
    finally:
        tensors.close()


def _lm_eval(question: dict[str, Any]) -> object:
    from mergegraph.search.lm_eval import evaluate

    return evaluate(question["model"], question["split"], LmEval.model_validate(question["evaluator"]["lm_eval"]))


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
